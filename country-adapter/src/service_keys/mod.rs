//! The authority's daily keys for service tokens: made ahead, published, destroyed (`herald.md` D19).
//!
//! A key is for one UTC day, and its number is that day's. It is published 14 days ahead, opens for 15 days after its
//! day, and is then overwritten and removed, so that what was recorded stays closed.

mod list;

pub use list::{KeysRefused, ServiceKeyList, read};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pki::disk::DiskError;
use pki::seal::{PrivateKey, Suite};
use pki::secret::Secret;
use pki::sign::{SigningKey, sha256};
use proto::day::Day;
use proto::ids::Authority;
use proto::report::Report;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::blocking::blocking;
use crate::durable::{self, Disk, PRIVATE, PRIVATE_DIR};
use crate::herald::secured::service::DailyKey;
use crate::outage;
use crate::steady::SteadyClock;

/// Days for which keys are made ahead.
pub const AHEAD: u16 = 14;
/// Days after its own for which a key still opens.
pub const KEPT: u16 = Report::MAX_AGE;
const ENDING: &str = ".key";
/// Octets of a private key of P-256.
const KEY_LEN: usize = 32;
/// How often it is looked whether a day has begun.
const EVERY: Duration = Duration::from_secs(600);

/// A file that holds no key.
#[derive(Debug, thiserror::Error)]
pub enum KeysDamaged {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its content.
    #[error(
        "{path} is no private key; restore it from a backup, or remove it: what phones sealed to it is then lost"
    )]
    File {
        /// The file.
        path: PathBuf,
    },
}

/// The keys of an authority.
pub struct ServiceKeys {
    disk: Disk,
    dir: PathBuf,
    public: Option<PathBuf>,
    signing: SigningKey,
    authority: Authority,
    current: Mutex<Current>,
}

/// The keys there are now.
#[derive(Default)]
struct Current {
    private: Arc<Vec<DailyKey<PrivateKey>>>,
    published: Published,
    /// The first day of the published list.
    offered_from: Option<Day>,
}

/// The signed list, as phones get it.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Its octets.
    pub octets: Bytes,
    /// A strong validator for HTTP.
    pub etag: Arc<str>,
}

impl ServiceKeys {
    /// Opens the keys in the adapter's directory; a copy of the list is kept in the static folder, if there is one.
    pub fn open(
        (state, public): (&Path, Option<&Path>),
        disk: Disk,
        signing: SigningKey,
        authority: Authority,
    ) -> Result<Self, KeysDamaged> {
        let dir = state.join("service-keys");
        disk.create_dir(&dir, PRIVATE_DIR)?;
        let public = public.map(|folder| folder.join("v1"));
        Ok(Self { disk, dir, public, signing, authority, current: Mutex::default() })
    }

    /// Makes what is missing from yesterday until two weeks ahead, destroys what is over, and signs a new list if
    /// anything changed. Yesterday's is for phones whose clocks are late. What is over is told by a clock that does not
    /// leap: a key that is destroyed does not come back when the other clock is set right.
    pub fn rotate(&self, now: u64, steady: u64) -> Result<(), KeysDamaged> {
        let (today, oldest) = (Day::of_unix(now), Day::of_unix(now.min(steady)).minus(KEPT));
        for day in self.days()?.into_iter().filter(|day| *day < oldest) {
            self.destroy(day)?;
        }
        for day in (today.minus(1).number()..=today.plus(AHEAD).number()).map(Day::new) {
            if !durable::is_there(&self.path(day))? {
                let key = PrivateKey::generate(Suite::P256);
                self.disk.replace(&self.path(day), PRIVATE, key.expose())?;
            }
        }
        let days = self.days()?;
        let known: Vec<_> = self.private().iter().map(|key| key.number).collect();
        let is_known = known == days.iter().map(|day| day.number()).collect::<Vec<_>>();
        if !is_known || self.current().offered_from != Some(today.minus(1)) {
            let private = days.into_iter().map(|day| self.read(day)).collect::<Result<Vec<_>, _>>()?;
            self.publish(private, now)?;
        }
        Ok(())
    }

    /// The private keys that open now.
    #[must_use]
    pub fn private(&self) -> Arc<Vec<DailyKey<PrivateKey>>> {
        self.current().private.clone()
    }

    /// The signed list of the public keys.
    #[must_use]
    pub fn published(&self) -> Published {
        self.current().published.clone()
    }

    fn publish(&self, private: Vec<DailyKey<PrivateKey>>, now: u64) -> Result<(), KeysDamaged> {
        let yesterday = Day::of_unix(now).minus(1);
        let offered = private.iter().filter(|key| key.number >= yesterday.number());
        let keys = offered.map(|key| (key.number, key.key.public())).collect::<Vec<_>>();
        let octets = list::seal(self.authority, now, &keys, &self.signing);
        if let Some(public) = &self.public {
            self.disk.create_public_dir(public)?;
            self.disk.replace_public(&public.join("service-keys"), &octets)?;
        }
        let count = keys.len();
        let etag = format!("\"{}\"", hex::encode(&sha256(&octets)[..8])).into();
        let published = Published { octets: octets.into(), etag };
        *self.current() = Current { private: Arc::new(private), published, offered_from: Some(yesterday) };
        info!(keys = count, "keys for service tokens published");
        Ok(())
    }

    fn read(&self, day: Day) -> Result<DailyKey<PrivateKey>, KeysDamaged> {
        let path = self.path(day);
        let octets = Secret::new(durable::read_if_there(&path)?.unwrap_or_default());
        let key = (octets.expose().len() == KEY_LEN).then(|| PrivateKey::parse(Suite::P256, &octets));
        let key = key.and_then(Result::ok).ok_or(KeysDamaged::File { path })?;
        Ok(DailyKey { number: day.number(), days: day..=day, key })
    }

    fn destroy(&self, day: Day) -> Result<(), DiskError> {
        let path = self.path(day);
        // On a disk that writes elsewhere the encryption of the disk must do.
        self.disk.overwrite(&path, &[0; KEY_LEN])?;
        self.disk.remove(&path)?;
        self.disk.sync_dir(&self.dir)
    }

    fn days(&self) -> Result<Vec<Day>, DiskError> {
        let names = durable::names(&self.dir)?;
        let day = |name: &String| name.strip_suffix(ENDING)?.parse().ok().map(Day::new);
        let mut days: Vec<_> = names.iter().filter_map(day).collect();
        days.sort_unstable();
        Ok(days)
    }

    fn path(&self, day: Day) -> PathBuf {
        self.dir.join(format!("{}{ENDING}", day.number()))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rotates until the stop.
pub async fn run(keys: Arc<ServiceKeys>, clock: Arc<SteadyClock>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let (keys, clock) = (keys.clone(), clock.clone());
        if let Err(cause) = blocking(move || keys.rotate(clock.clock().now(), clock.now()?)).await {
            error!(error = %outage::chain(&cause), "the keys for service tokens were not rotated; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000;

    struct Place {
        dir: tempfile::TempDir,
        signing: Secret<Vec<u8>>,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), signing: SigningKey::generate() }
        }

        fn open(&self, disk: Disk) -> ServiceKeys {
            let public = self.dir.path().join("public");
            let signing = SigningKey::from_pkcs8(&self.signing).unwrap();
            let places = (self.dir.path(), Some(&*public));
            ServiceKeys::open(places, disk, signing, "826/0".parse().unwrap()).unwrap()
        }

        fn numbers(&self, keys: &ServiceKeys) -> Vec<u16> {
            let signing = SigningKey::from_pkcs8(&self.signing).unwrap();
            let own = "826/0".parse().unwrap();
            let list = read(&keys.published().octets, signing.public(), own).unwrap();
            list.keys.iter().map(|key| key.number).collect()
        }
    }

    #[test]
    fn keys_are_there_from_yesterday_until_two_weeks_ahead() {
        let place = Place::new();
        let keys = place.open(Disk::default());
        keys.rotate(NOW, NOW).unwrap();
        let today = Day::of_unix(NOW).number();
        assert_eq!(place.numbers(&keys), (today - 1..=today + 14).collect::<Vec<_>>());
        assert_eq!(keys.private().len(), 16);
        let copy = std::fs::read(place.dir.path().join("public/v1/service-keys")).unwrap();
        assert_eq!(copy, keys.published().octets);
    }

    #[test]
    fn a_key_stays_the_same_over_restarts_and_opens_until_15_days_after_its_day() {
        let place = Place::new();
        let keys = place.open(Disk::default());
        keys.rotate(NOW, NOW).unwrap();
        let today = Day::of_unix(NOW).number();
        let id = |keys: &ServiceKeys, number: u16| {
            keys.private().iter().find(|key| key.number == number).map(|key| key.key.id())
        };
        let first = id(&keys, today);
        assert!(first.is_some());
        let keys = place.open(Disk::default());
        for days in [0, 1, 15] {
            let now = NOW + days * 86_400;
            keys.rotate(now, now).unwrap();
            assert_eq!(id(&keys, today), first, "{days}");
        }
        assert!(!place.numbers(&keys).contains(&today), "no longer offered to phones");
        keys.rotate(NOW + 16 * 86_400, NOW + 16 * 86_400).unwrap();
        assert_eq!(id(&keys, today), None);
        assert!(!place.dir.path().join(format!("service-keys/{today}.key")).exists());
    }

    #[test]
    fn a_clock_that_leaps_destroys_no_key_and_is_forgotten_when_it_is_set_right() {
        let place = Place::new();
        let keys = place.open(Disk::default());
        keys.rotate(NOW, NOW).unwrap();
        let (today, before) = (Day::of_unix(NOW).number(), place.numbers(&keys));
        let leapt = NOW + 40 * 86_400;
        keys.rotate(leapt, NOW).unwrap();
        assert_eq!(place.numbers(&keys)[0], today + 39, "phones whose clocks are right get what they need");
        keys.rotate(NOW, NOW).unwrap();
        assert!(before.iter().all(|number| place.numbers(&keys).contains(number)));
        assert!((today - 1..=today + 14).all(|number| keys.private().iter().any(|key| key.number == number)));
    }

    #[test]
    fn a_kill_at_any_step_leaves_keys_that_open() {
        for steps in 0..60 {
            let place = Place::new();
            let disk = Disk::dying_after(steps);
            let dir = place.dir.path().join("service-keys");
            std::fs::create_dir_all(&dir).unwrap();
            let killed = place.open(disk).rotate(NOW, NOW);
            let keys = place.open(Disk::default());
            keys.rotate(NOW, NOW).unwrap();
            assert_eq!(keys.private().len(), 16, "killed after step {steps}: {killed:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let place = Place::new();
        let keys = place.open(Disk::default());
        keys.rotate(NOW, NOW).unwrap();
        let today = Day::of_unix(NOW).number();
        std::fs::write(place.dir.path().join(format!("service-keys/{today}.key")), [0; 32]).unwrap();
        let refused = place.open(Disk::default()).rotate(NOW, NOW).unwrap_err().to_string();
        assert!(refused.contains(&format!("{today}.key is no private key")), "{refused}");
    }

    #[test]
    fn keys_are_nobody_elses_business() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new();
        place.open(Disk::default()).rotate(NOW, NOW).unwrap();
        let dir = place.dir.path().join("service-keys");
        for name in durable::names(&dir).unwrap() {
            let mode = std::fs::metadata(dir.join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
