//! Where the story plays: three countries that run, a national system, what is on the air, and the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use country_adapter::lists::ListKind;
use proto::day::Day;

use crate::admin;
use crate::builder::Builder;
use crate::citizens::{Citizens, Policy};
use crate::desk::Degree;
use crate::federation::Federation;
use crate::leaks::files_below;
use crate::members::{CountryPlan, KeyFiles, Node, authority};
use crate::national::National;
use crate::phone::{Air, Answer, Case, CodeWanted, Found, Home, Phone};
use crate::place::AdapterPlace;

/// How long anything may take to arrive.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// Seconds before its beginning in which the story's people met.
const HOURS_TOLD: u64 = 4 * 3_600;
/// How often a phone of the story polls: real ones do it every hour.
const POLL: Duration = Duration::from_millis(100);

/// Contacts that 826/0 takes in one case.
pub(super) const CONTACTS_PER_CASE: usize = 1_000;

/// Service tokens of one other country that 826/0 opens in a day.
pub(super) const TOKENS_A_DAY: u32 = 100;

/// United Kingdom, decentralised, with second degree.
pub const UK: &str = "826/0";
/// France, centralised.
pub const FRANCE: &str = "250/0";
/// Victoria, decentralised.
pub const VICTORIA: &str = "36/2";

/// Everything that runs and everybody who acts.
pub struct Stage {
    /// The countries.
    pub federation: Federation,
    /// The national system of France.
    pub national: National,
    /// What was said over the radio.
    pub air: Air,
    /// Unix time at which the story begins, or a time shortly before on which all of it falls on one day.
    pub now: u64,
    /// What was uploaded, with the code that it was uploaded with.
    pub uploaded: Vec<(String, Case)>,
    /// The metrics pages of all processes, as they were before the end.
    pages: BTreeMap<Node, String>,
}

impl Stage {
    /// The three countries of the story; in this folder, if one is named. Lines are tapped, and every process logs all.
    pub async fn open(keep: Option<&Path>) -> Result<Self> {
        let builder = Federation::builder().log_level("trace").tapped();
        let builder = keep.into_iter().fold(builder, Builder::keep);
        Self::start(builder, plans).await
    }

    /// Other countries, whose adapters all serve phones.
    pub async fn start<const N: usize>(
        builder: Builder,
        plans: impl FnOnce(&National) -> [CountryPlan; N],
    ) -> Result<Self> {
        let national = National::start().await?;
        let builder = plans(&national).into_iter().fold(builder, Builder::country);
        let federation = builder.start().await?;
        let (uploaded, pages, now) = (Vec::new(), BTreeMap::new(), late_enough(unix_now()));
        let stage = Self { federation, national, air: Air::default(), now, uploaded, pages };
        for adapter in stage.federation.adapters() {
            stage.serves(adapter).await?;
        }
        Ok(stage)
    }

    /// A phone on Secured, with the keys of its authority; a French one enrols with the national system.
    pub async fn secured(&self, name: &str, place: &str) -> Result<Phone> {
        let mut model = [0; 8];
        getrandom::fill(&mut model).context("the system has no random numbers")?;
        let mut phone = Phone::secured(name, self.home(place)?, area()?, model)?;
        phone.fetch_keys(self.now).await?;
        if place == FRANCE {
            phone.enrol(self.national.address()).await?;
        }
        Ok(phone)
    }

    /// A phone on Simple. It has been in use for some days.
    pub fn simple(&self, name: &str, place: &str) -> Result<Phone> {
        Phone::simple(name, self.home(place)?, self.now - 7 * Day::SECONDS)
    }

    /// The owner of a phone feels ill and tests positive: a health worker makes a code, and the phone uploads with it.
    pub async fn case(&mut self, phone: &Phone, case: Case) -> Result<Answer> {
        let code = self.federation.case_code(phone.authority(), Degree::First).await?;
        self.upload(code, phone, case).await
    }

    /// A phone has asked for a case code. Its owner calls the authority's health service and is tested; a health worker
    /// makes the code, and the phone uploads with it.
    pub async fn case_wanted(&mut self, wanted: &CodeWanted, phone: &Phone, case: Case) -> Result<Answer> {
        let code = self.federation.case_code(wanted.authority(), Degree::First).await?;
        self.upload(code, phone, case).await
    }

    async fn upload(&mut self, code: String, phone: &Phone, case: Case) -> Result<Answer> {
        let answer = phone.upload(&code, &case).await?;
        self.uploaded.push((code, case));
        Ok(answer)
    }

    /// Polls until a phone has found something, or nothing more is to be hoped for. Gives all that was found.
    pub async fn poll_until(
        &self,
        phone: &mut Phone,
        mut is_enough: impl FnMut(&Found) -> bool,
    ) -> Result<(Found, Duration)> {
        let (began, mut all) = (Instant::now(), Found::default());
        while began.elapsed() < SOON {
            all.missed.clear();
            all.add(phone.poll(unix_now()).await?);
            if is_enough(&all) {
                return Ok((all, began.elapsed()));
            }
            tokio::time::sleep(POLL).await;
        }
        let (authority, seconds) = (phone.authority(), SOON.as_secs());
        bail!(
            "{phone} finds nothing in what {authority} posts, within {seconds} s; lists not read: {:?}",
            all.missed
        )
    }

    /// Lets a phone sleep until the time that it has set itself, and no longer. Gives what it found then, when
    /// that is, and how many times it asked before.
    pub async fn sleep(&self, phone: &mut Phone) -> Result<(Found, u64, usize)> {
        let now = unix_now();
        let mut early = usize::from(phone.wake(now).await?.is_some());
        let due = phone.due().context("a phone that was awake knows when it asks next")?;
        early += usize::from(phone.wake(due - 1).await?.is_some());
        let found = phone.wake(due).await?.context("a phone asks when its time has come")?;
        Ok((found, due, early))
    }

    /// A phone's way to an authority.
    pub fn home(&self, place: &str) -> Result<Home> {
        Home::of(self.federation.adapter(authority(place))?)
    }

    /// A metric of an authority's adapter, summed up over all samples with these labels.
    pub async fn metric(&self, place: &str, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let text = self.metrics(place).await?;
        // Counters are whole, and far below 2^53.
        Ok(admin::metric(&text, name, labels) as u64)
    }

    /// How many reports an authority has refused for a reason.
    pub async fn refused(&self, place: &str, reason: &str) -> Result<u64> {
        self.metric(place, "adapter_tokens_refused_total", &[("reason", reason)]).await
    }

    /// All that an authority has posted of contacts, from its static files.
    pub fn posted(&self, place: &str) -> Result<Vec<u8>> {
        let adapter = self.federation.adapter(authority(place))?;
        let folder = &adapter.phones.as_ref().context("every authority here serves phones")?.lists;
        let mut posted = Vec::new();
        for file in files_below(&folder.join("v1").join(ListKind::Contacts.name()))? {
            posted.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        Ok(posted)
    }

    /// Leaves what phones, radio and national system hold in the federation's folder, to be looked at.
    pub fn save(&self, phones: &[&Phone]) -> Result<()> {
        let folder = self.federation.folder().join("held");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let write = |name: &str, octets: Vec<u8>| {
            let path = folder.join(name);
            fs::write(&path, octets).with_context(|| format!("cannot write {}", path.display()))
        };
        for phone in phones {
            write(&format!("phone-of-{}.json", phone.name().to_lowercase()), phone.save()?)?;
        }
        write("national-system-of-250.json", self.national.holdings()?.into_bytes())?;
        let said: Vec<_> = self.air.said().iter().map(hex::encode).collect();
        write("radio.hex", said.join("\n").into_bytes())
    }

    /// Reads the metrics pages of all processes, and stops all of them: files come and go while they run.
    pub async fn close(&mut self) -> Result<()> {
        for adapter in self.federation.adapters() {
            let page = self.metrics(&adapter.authority.to_string()).await?;
            self.pages.insert(Node::Adapter(adapter.authority), page);
        }
        for (plan, _) in self.federation.countries() {
            self.pages.insert(Node::Gateway(plan.code), self.federation.metrics(plan.code).await?);
        }
        for (node, status) in self.federation.stop().await.context("stopping")? {
            ensure!(status.success(), "{node} did not stop cleanly: {status}");
        }
        Ok(())
    }

    /// The metrics page of a process that has been stopped.
    pub fn page(&self, node: Node) -> Result<&str> {
        self.pages
            .get(&node)
            .map(String::as_str)
            .with_context(|| format!("nobody has read the page of {node}"))
    }

    /// The metrics page of an authority's adapter.
    pub async fn metrics(&self, place: &str) -> Result<String> {
        let adapter = self.federation.adapter(authority(place))?;
        let phones = adapter.phones.as_ref().context("every authority here serves phones")?;
        Ok(admin::get(phones.admin, "/metrics").await?.1)
    }

    /// Waits for a condition, and says how long it took.
    pub async fn wait<T>(
        &self,
        what: &str,
        condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<(T, Duration)> {
        let began = Instant::now();
        let found = self.federation.wait_until(what, SOON, condition).await?;
        Ok((found, began.elapsed()))
    }

    /// Waits until an adapter serves phones.
    async fn serves(&self, adapter: &AdapterPlace) -> Result<()> {
        let home = Home::of(adapter)?;
        let ready = async || {
            let answer = home.get("/v1/service-keys", None).await.ok()?;
            answer.status.is_success().then_some(())
        };
        self.federation.wait_until(&format!("{} serves phones", adapter.authority), SOON, ready).await
    }
}

/// Where a phone is at home: four letters of its own.
fn area() -> Result<[u8; 4]> {
    let mut octets = [0; 4];
    getrandom::fill(&mut octets).context("the system has no random numbers")?;
    Ok(octets.map(|octet| b'A' + octet % 26))
}

fn plans(national: &National) -> [CountryPlan; 3] {
    [
        CountryPlan::new(826, "United Kingdom", &[(UK, "United Kingdom")]).citizens(
            Citizens::decentralised()
                .second_degree(Policy::On)
                .contacts_per_case(1_000)
                .tokens_a_day(TOKENS_A_DAY),
        ),
        CountryPlan::new(250, "France", &[(FRANCE, "France")])
            .keys(KeyFiles::Encrypted)
            .suite(pki::seal::Suite::P256)
            .citizens(Citizens::centralised(national)),
        CountryPlan::new(36, "Australia", &[(VICTORIA, "Victoria")]).citizens(Citizens::decentralised()),
    ]
}

/// The time itself, or the end of the day before: what happened in the hours before lies within one UTC day.
fn late_enough(now: u64) -> u64 {
    let since_midnight = now % Day::SECONDS;
    if since_midnight < HOURS_TOLD { now - since_midnight - 1 } else { now }
}

/// Seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_met_on_one_day() {
        let midnight = Day::new(20_780).unix();
        for now in [midnight, midnight + 1, midnight + HOURS_TOLD - 1, midnight + HOURS_TOLD, midnight - 1] {
            let told = late_enough(now);
            assert!(told <= now && now - told <= HOURS_TOLD, "{now}");
            assert_eq!(Day::of_unix(told), Day::of_unix(told - HOURS_TOLD + 1), "{now}");
        }
    }
}
