//! How long a phone waits before it lets anything show: uniform from 0 to 30 minutes, drawn once for each event.
//!
//! A phone that reacted at once would tell whoever stands beside it why. The wait counts inside the three and a half
//! hours that a phone has to report (`herald.md` D18), and a restart does not draw it again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::durable::{self, Disk, PRIVATE};

/// The longest wait, seconds.
pub const LONGEST: u64 = 30 * 60;

/// The waits that a phone has drawn, in one small file.
pub struct Lags {
    disk: Disk,
    path: PathBuf,
    /// When each event may show, by its name.
    drawn: BTreeMap<String, u64>,
}

impl Lags {
    /// Reads the file, if it is there. One that does not parse counts as none.
    pub fn open(path: &Path, disk: Disk) -> Result<Self, DiskError> {
        let text = durable::read_if_there(path)?.unwrap_or_default();
        let drawn = serde_json::from_slice(&text).unwrap_or_default();
        Ok(Self { disk, path: path.into(), drawn })
    }

    /// From when on an event may show, Unix seconds. It is on the disk before anybody knows it.
    pub fn shows_at(&mut self, event: &str, now: u64) -> Result<u64, DiskError> {
        if let Some(at) = self.drawn.get(event) {
            return Ok(*at);
        }
        let at = now + StdRng::from_os_rng().random_range(0..=LONGEST);
        self.drawn.insert(event.into(), at);
        let json = serde_json::to_vec(&self.drawn).expect("strings and numbers always serialise");
        self.disk.replace(&self.path, PRIVATE, &json)?;
        Ok(at)
    }
}

#[cfg(test)]
mod lag_tests {
    use super::*;

    #[test]
    fn a_wait_is_drawn_once_and_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lags.json");
        let open = || Lags::open(&path, Disk::default()).unwrap();
        let first = open().shows_at("advice 1", 1_000).unwrap();
        assert!((1_000..=1_000 + LONGEST).contains(&first));
        assert_eq!(open().shows_at("advice 1", 900_000).unwrap(), first);
        let waits: std::collections::HashSet<_> =
            (0..50).map(|number| open().shows_at(&format!("other {number}"), 0).unwrap()).collect();
        assert!(waits.len() > 30, "drawn from all of half an hour");
    }
}
