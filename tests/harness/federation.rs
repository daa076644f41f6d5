//! A federation that runs: its places, its processes, and what a backend does with it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use proto::ids::{Authority, CountryCode};
use tempfile::TempDir;

use crate::backend::{self, Answer, Delivered};
use crate::balancer::Balancer;
use crate::builder::Builder;
use crate::members::{CountryPlan, Node};
use crate::place::{AdapterPlace, CountryPlace, FederationPlace, GatewayPlace};
use crate::process::{Launch, Process, Signal};
use crate::proxy::Proxy;
use crate::setup::Member;
use crate::tap::Tap;
use crate::turn::Turn;
use crate::{admin, wait};

/// How long a process may take to stop after SIGTERM: a gateway gives open calls 10 seconds.
const STOPPED: Duration = Duration::from_secs(30);
/// How long a restarted process may take to be ready.
const RESTARTED: Duration = Duration::from_secs(20);

/// Countries that run. Dropping it kills every process that it started and removes its folder.
pub struct Federation {
    // Dropped in this order: the processes end before their folder goes.
    processes: Mutex<BTreeMap<Node, Process>>,
    launches: BTreeMap<Node, Launch>,
    members: BTreeMap<CountryCode, (CountryPlan, CountryPlace)>,
    place: FederationPlace,
    commands: Vec<String>,
    home: Home,
    _taps: Vec<Tap>,
    _balancers: Vec<Balancer>,
    proxies: BTreeMap<CountryCode, [Proxy; 2]>,
    database_lines: Vec<Proxy>,
    _turn: Option<Turn>,
}

/// The folder of a federation.
pub(crate) enum Home {
    Temporary(TempDir),
    Kept(PathBuf),
}

/// What a federation begins with.
pub(crate) struct Start {
    pub(crate) home: Home,
    pub(crate) place: FederationPlace,
    pub(crate) members: Vec<Member>,
    pub(crate) launches: BTreeMap<Node, Launch>,
    pub(crate) commands: Vec<String>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) balancers: Vec<Balancer>,
    /// In front of each gateway's listeners, for peers and for adapters.
    pub(crate) proxies: BTreeMap<CountryCode, [Proxy; 2]>,
    /// In front of each country's database.
    pub(crate) database_lines: Vec<Proxy>,
}

impl Home {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Federation {
    /// A federation to be put together.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(start: Start) -> Self {
        let Start { home, place, members, launches, commands, taps, balancers, proxies, database_lines } =
            start;
        let members = members.into_iter().map(|(plan, country)| (plan.code, (plan, country))).collect();
        Self {
            processes: Mutex::default(),
            launches,
            members,
            place,
            commands,
            home,
            _taps: taps,
            _balancers: balancers,
            proxies,
            database_lines,
            _turn: None,
        }
    }

    /// Keeps others from starting a federation until this one is dropped.
    pub(crate) fn hold(self, turn: Turn) -> Self {
        Self { _turn: Some(turn), ..self }
    }

    /// The folder of everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Trust list, anchors, and the folder.
    #[must_use]
    pub fn place(&self) -> &FederationPlace {
        &self.place
    }

    /// The `pki` commands that made it, as they were typed in its folder.
    #[must_use]
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// The commands that started its processes.
    #[must_use]
    pub fn launches(&self) -> Vec<String> {
        self.launches.values().map(Launch::command).collect()
    }

    /// All countries, by code.
    pub fn countries(&self) -> impl Iterator<Item = (&CountryPlan, &CountryPlace)> {
        self.members.values().map(|(plan, place)| (plan, place))
    }

    /// The places of a country.
    pub fn country(&self, code: CountryCode) -> Result<&CountryPlace> {
        let member = self.members.get(&code).map(|(_, place)| place);
        member.with_context(|| format!("country {code} is not in this federation"))
    }

    /// The place of a gateway.
    pub fn gateway(&self, node: Node) -> Result<&GatewayPlace> {
        let (code, number) = match node {
            Node::Gateway(code) => (code, 1),
            Node::Replica(code, number) => (code, number),
            Node::Adapter(_) => bail!("{node} is no gateway"),
        };
        let place = self.country(code)?.gateways().nth(usize::from(number) - 1);
        place.with_context(|| format!("{node} is not in this federation"))
    }

    /// All adapters, by country and authority.
    pub fn adapters(&self) -> impl Iterator<Item = &AdapterPlace> {
        self.members.values().flat_map(|(_, country)| country.adapters.values())
    }

    /// The places of an authority's adapter.
    pub fn adapter(&self, authority: Authority) -> Result<&AdapterPlace> {
        let adapter = self.adapters().find(|adapter| adapter.authority == authority);
        adapter.with_context(|| format!("authority {authority} is not in this federation"))
    }

    /// The country that runs an authority's adapter.
    pub fn country_of(&self, authority: Authority) -> Result<&CountryPlace> {
        let mut countries = self.members.values().map(|(_, country)| country);
        let country = countries.find(|country| country.adapters.contains_key(&authority));
        country.with_context(|| format!("authority {authority} is not in this federation"))
    }

    /// All processes that belong to it, running or not.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.launches.keys().copied()
    }

    /// What stands in the lines to a country's gateway, from peers and from adapters, if the federation was built so.
    pub fn proxies(&self, code: CountryCode) -> Result<&[Proxy; 2]> {
        self.proxies.get(&code).with_context(|| format!("no proxy stands in front of the gateway of {code}"))
    }

    /// What stands in the lines from each country's gateways to its database, if the federation was built so.
    pub fn database_lines(&self) -> impl Iterator<Item = &Proxy> {
        self.database_lines.iter()
    }

    /// Hands a file of lines to an authority's adapter, and gives the answer to each line.
    pub async fn push(&self, authority: Authority, lines: &[String]) -> Result<Vec<Answer>> {
        let adapter = self.adapter(authority)?;
        let name = backend::submit(adapter, lines)?;
        backend::answers(adapter, &name, lines.len()).await
    }

    /// What has been delivered to an authority so far.
    pub fn delivered(&self, authority: Authority) -> Result<Vec<Delivered>> {
        backend::delivered(self.adapter(authority)?)
    }

    /// Waits until a condition gives something; fails with the name of what was waited for, or if a process has ended
    /// by itself meanwhile.
    pub async fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let found = wait::until(what, limit, async || match self.check_all_run() {
            Ok(()) => condition().await.map(Ok),
            Err(ended) => Some(Err(ended)),
        });
        found.await?
    }

    /// The metrics page of a country's gateway.
    pub async fn metrics(&self, code: CountryCode) -> Result<String> {
        let (_, text) = admin::get(self.country(code)?.gateway.admin, "/metrics").await?;
        Ok(text)
    }

    /// The last receipt that a country's gateway has of a peer, for `stored` or `delivered`, as it was signed.
    pub async fn receipt(&self, code: CountryCode, peer: u16, stage: &str) -> Result<Option<Vec<u8>>> {
        let admin = self.country(code)?.gateway.admin;
        let (status, octets) = admin::octets(admin, &format!("/receipts/{peer}/{stage}")).await?;
        Ok((status == 200).then_some(octets))
    }

    /// The most memory that a process has held since it was started last, octets.
    pub fn peak_rss(&self, node: Node) -> Result<u64> {
        self.with(node, |process| process.peak_rss())
    }

    /// The pid of a running process.
    pub fn pid(&self, node: Node) -> Result<u32> {
        self.with(node, |process| Ok(process.pid()))
    }

    /// Sends a signal. After one that ends it, use [`Federation::ended`] or [`Federation::restart`].
    pub fn kill(&self, node: Node, signal: Signal) -> Result<()> {
        self.with(node, |process| process.signal(signal))
    }

    /// Waits until a process has ended, and forgets it.
    pub async fn ended(&self, node: Node, limit: Duration) -> Result<ExitStatus> {
        let mut process = self.take(node)?;
        let ended = process.end(limit).await;
        if ended.is_err() {
            self.processes().insert(node, process);
        }
        ended
    }

    /// Whether a process has ended and nobody has waited for it yet.
    pub fn has_ended(&self, node: Node) -> Result<bool> {
        self.with(node, |process| Ok(process.ended().is_some()))
    }

    /// Kills a process outright, as a power cut does, and waits until it is gone.
    pub async fn kill_now(&self, node: Node) -> Result<()> {
        self.kill(node, Signal::KILL)?;
        self.ended(node, STOPPED).await.map(drop)
    }

    /// Starts a process again that has ended, without waiting for it.
    pub fn launch(&self, node: Node) -> Result<()> {
        self.launch_with(node, &[])
    }

    /// As [`Federation::launch`], with more in its environment.
    pub fn launch_with(&self, node: Node, environment: &[(&str, &OsStr)]) -> Result<()> {
        let launch = self.launches.get(&node).with_context(|| format!("{node} is not in this federation"))?;
        let process = launch.start(environment)?;
        self.processes().insert(node, process);
        Ok(())
    }

    /// As [`Federation::launch`], with its output going elsewhere.
    pub fn launch_logging_to(&self, node: Node, log: &Path) -> Result<()> {
        let launch = self.launches.get(&node).with_context(|| format!("{node} is not in this federation"))?;
        let process = Launch { log: log.into(), ..launch.clone() }.start(&[])?;
        self.processes().insert(node, process);
        Ok(())
    }

    /// Starts a process again that has ended; a gateway is waited for until it says it is ready.
    pub async fn restart(&self, node: Node) -> Result<()> {
        self.launch(node)?;
        if node.is_gateway() { self.wait_gateway(node, RESTARTED).await } else { Ok(()) }
    }

    /// Stops every process with SIGTERM, adapters first, and kills what does not stop in time. Gives how each ended.
    pub async fn stop(&self) -> Result<BTreeMap<Node, ExitStatus>> {
        let running = std::mem::take(&mut *self.processes());
        let (gateways, adapters): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(node, _)| node.is_gateway());
        let mut ends = BTreeMap::new();
        for mut group in [adapters, gateways] {
            group.iter_mut().try_for_each(|(_, process)| process.signal(Signal::TERM))?;
            for (node, mut process) in group {
                ends.insert(node, process.end_or_kill(STOPPED).await?);
            }
        }
        Ok(ends)
    }

    pub(crate) fn launch_all(&self) -> Result<()> {
        self.nodes().try_for_each(|node| self.launch(node))
    }

    /// Waits until each gateway is ready and has a key of every authority.
    pub(crate) async fn wait_ready(&self, limit: Duration) -> Result<()> {
        for node in self.nodes().filter(|node| node.is_gateway()) {
            self.wait_gateway(node, limit).await?;
        }
        let authorities = self.adapters().count() as f64;
        for gateway in self.members.values().flat_map(|(_, country)| country.gateways()) {
            let known = async || {
                let (_, text) = admin::get(gateway.admin, "/metrics").await.ok()?;
                (admin::metric(&text, "exchange_key_lists_in_force", &[]) >= authorities).then_some(())
            };
            self.wait_until("every gateway has the key list of every authority", limit, known).await?;
        }
        Ok(())
    }

    /// Waits until a gateway says that it is ready.
    pub async fn wait_gateway(&self, node: Node, limit: Duration) -> Result<()> {
        let admin = self.gateway(node)?.admin;
        let ready =
            async || admin::get(admin, "/readyz").await.is_ok_and(|(status, _)| status == 200).then_some(());
        self.wait_until(&format!("the {node} is ready"), limit, ready).await
    }

    /// An error if a process that should run has ended.
    pub fn check_all_run(&self) -> Result<()> {
        self.processes().values_mut().try_for_each(Process::check_runs)
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Node, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, node: Node, act: impl FnOnce(&mut Process) -> Result<T>) -> Result<T> {
        let mut processes = self.processes();
        act(processes.get_mut(&node).with_context(|| format!("{node} does not run"))?)
    }

    fn take(&self, node: Node) -> Result<Process> {
        self.processes().remove(&node).with_context(|| format!("{node} does not run"))
    }
}
