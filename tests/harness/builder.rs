//! How a federation is put together before it starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use proto::ids::CountryCode;

use crate::balancer::Balancer;
use crate::binaries::Binaries;
use crate::configs;
use crate::federation::{Federation, Home, Start};
use crate::members::{CountryPlan, Node, StorePlan, three_countries};
use crate::place::{Addresses, CountryPlace, FederationPlace};
use crate::process::Launch;
use crate::proxy::Proxy;
use crate::tap::Tap;
use crate::{ports, setup, turn};

/// How long all processes together may take until they are ready and know each other's keys.
const READY: Duration = Duration::from_secs(40);
/// How much longer each country makes it: they start side by side, on the same cores.
const READY_EACH: Duration = Duration::from_secs(3);
/// Ports of a gateway: three listeners, and two for whoever stands in its lines.
const GATEWAY_PORTS: usize = 5;
/// Ports of another replica: three listeners.
const REPLICA_PORTS: usize = 3;
/// Ports of an adapter: two listeners and a tap.
const ADAPTER_PORTS: usize = 3;

/// A federation that is not started yet.
#[derive(Debug)]
pub struct Builder {
    plans: Vec<CountryPlan>,
    /// In the trust list, and nowhere else.
    absent: Vec<CountryPlan>,
    log_level: String,
    gateway_settings: String,
    keep: Option<PathBuf>,
    lines: Lines,
    cluster: Option<Arc<Cluster>>,
}

/// Who stands in the lines between countries, to adapters and to phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Nobody.
    Plain,
    /// Somebody who listens to peers and phones.
    Tapped,
    /// Somebody who cuts, delays and spoils what passes to a gateway.
    Proxied,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            plans: Vec::new(),
            absent: Vec::new(),
            log_level: "info".into(),
            gateway_settings: String::new(),
            keep: None,
            lines: Lines::Plain,
            cluster: None,
        }
    }
}

impl Builder {
    /// Adds a country. Without any, the federation has those of [`three_countries`].
    #[must_use]
    pub fn country(mut self, plan: CountryPlan) -> Self {
        self.plans.push(plan);
        self
    }

    /// Adds a country with keys and a place in the trust list, none of whose processes run.
    #[must_use]
    pub fn absent(mut self, plan: CountryPlan) -> Self {
        self.absent.push(plan);
        self
    }

    /// How much every process logs, by its configuration and by `RUST_LOG`: error, warn, info, debug or trace; `info`
    /// unless told otherwise.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.into();
        self
    }

    /// Writes these tables behind every gateway's configuration.
    #[must_use]
    pub fn gateway_settings(mut self, tables: &str) -> Self {
        self.gateway_settings = tables.into();
        self
    }

    /// Makes everything in this folder, which must be empty or not there, and leaves it behind.
    #[must_use]
    pub fn keep(mut self, folder: &Path) -> Self {
        self.keep = Some(folder.into());
        self
    }

    /// Records every octet that passes between countries, and between phones and adapters, below `network/`.
    #[must_use]
    pub fn tapped(mut self) -> Self {
        self.lines = Lines::Tapped;
        self
    }

    /// Keeps what countries have in PostgreSQL in this one, and not in that which all tests of the process share.
    #[must_use]
    pub fn cluster(self, cluster: Arc<Cluster>) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    /// Puts a [`Proxy`] in front of each gateway's listeners for peers and adapters, and of each country's database.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.lines = Lines::Proxied;
        self
    }

    /// Makes all files, starts all processes, and waits until every gateway can seal to every authority.
    pub async fn start(self) -> Result<Federation> {
        let (binaries, turn) = (Binaries::find()?, turn::mine().await);
        let started = match self.attempt(&binaries).await {
            // Somebody may have taken a port between our finding and our using it; twice in a row would be no accident.
            Err(error) if self.keep.is_none() && is_port_race(&error) => self.attempt(&binaries).await,
            started => started,
        };
        Ok(started?.hold(turn))
    }

    async fn attempt(&self, binaries: &Binaries) -> Result<Federation> {
        let home = Home::new(self.keep.as_deref())?;
        let plans = if self.plans.is_empty() { three_countries() } else { self.plans.clone() };
        let place = FederationPlace::new(home.path());
        let free = ports::free(ports_of(&plans))?;
        let mut members = self.placed(home.path(), plans, free)?;
        // Nobody listens there, so all have the same.
        let unused = ports::free(GATEWAY_PORTS + ADAPTER_PORTS)?.into_iter().cycle();
        let absent = self.placed(home.path(), self.absent.clone(), unused)?;
        let database_lines = self.databases(&mut members)?;
        let (taps, proxies) = (self.taps(&place, &members)?, self.proxies(&members)?);
        let balancers = if proxies.is_empty() { balancers(&members)? } else { Vec::new() };
        let all = [&members[..], &absent].concat();
        let commands = setup::make(&binaries.pki, &place, &all).await?;
        let own = (self.log_level.as_str(), self.gateway_settings.as_str());
        members.iter().try_for_each(|member| configs::write(&place, member, own))?;
        let launches = self.launches(binaries, &members);
        let ready = READY + READY_EACH * u32::try_from(members.len())?;
        let start =
            Start { home, place, members, launches, commands, taps, balancers, proxies, database_lines };
        let federation = Federation::new(start);
        federation.launch_all()?;
        federation.wait_ready(ready).await?;
        Ok(federation)
    }

    fn placed(
        &self,
        root: &Path,
        plans: Vec<CountryPlan>,
        ports: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<setup::Member>> {
        let mut free = ports.into_iter();
        let mut next = || free.next().context("as many ports as are needed were asked for");
        let reached = |listen, by, at| if by { at } else { listen };
        let (tapped, proxied) = (self.lines == Lines::Tapped, self.lines == Lines::Proxied);
        let mut placed = Vec::new();
        for plan in plans {
            let [peers, national, admin, outer, inner] = [next()?, next()?, next()?, next()?, next()?];
            let between = proxied || plan.replicas() > 1;
            let endpoint = reached(peers, tapped || between, outer);
            let entrance = reached(national, between, inner);
            let gateway = [peers, national, admin, endpoint, entrance];
            let mut addresses = Addresses { gateway, replicas: Vec::new(), adapters: Vec::new() };
            for _ in 1..plan.replicas() {
                addresses.replicas.push([next()?, next()?, next()?]);
            }
            for _ in &plan.authorities {
                let [phones, admin, tap] = [next()?, next()?, next()?];
                addresses.adapters.push([phones, admin, reached(phones, tapped, tap)]);
            }
            let country = CountryPlace::new(root, &plan, &addresses);
            placed.push((plan, country));
        }
        Ok(placed)
    }

    /// A database for every country that has one; gives who stands in the lines to them.
    fn databases(&self, members: &mut [setup::Member]) -> Result<Vec<Proxy>> {
        let mut lines = Vec::new();
        for (plan, country) in members {
            if matches!(plan.store, StorePlan::Postgres { .. }) {
                let cluster = match &self.cluster {
                    Some(own) => own,
                    None => cluster::shared()?,
                };
                country.database = Some(if self.lines == Lines::Proxied {
                    let at = ports::free(1)?[0];
                    lines.push(Proxy::start(at, vec![cluster.address()])?);
                    cluster.database_behind(at)?
                } else {
                    cluster.database()?
                });
            }
        }
        Ok(lines)
    }

    fn taps(&self, place: &FederationPlace, members: &[setup::Member]) -> Result<Vec<Tap>> {
        if self.lines != Lines::Tapped {
            return Ok(Vec::new());
        }
        std::fs::create_dir_all(&place.network).context("cannot make a folder for what is recorded")?;
        let mut taps = Vec::new();
        for (plan, country) in members {
            ensure!(plan.replicas() == 1, "a line to several replicas cannot be tapped");
            let gateway = &country.gateway;
            let record = place.network.join(format!("peers-of-{}", plan.code));
            taps.push(Tap::start(gateway.endpoint, gateway.peers, &record)?);
            for adapter in country.adapters.values() {
                if let Some(phones) = &adapter.phones {
                    let name = adapter.authority.to_string().replace('/', "-");
                    let record = place.network.join(format!("phones-of-{name}"));
                    taps.push(Tap::start(phones.endpoint, phones.listen, &record)?);
                }
            }
        }
        Ok(taps)
    }

    fn proxies(&self, members: &[setup::Member]) -> Result<BTreeMap<CountryCode, [Proxy; 2]>> {
        let members = members.iter().filter(|_| self.lines == Lines::Proxied);
        let proxies = members.map(|(plan, country)| {
            let gateway = &country.gateway;
            let peers = country.gateways().map(|gateway| gateway.peers).collect();
            let national = country.gateways().map(|gateway| gateway.national).collect();
            let peers = Proxy::start(gateway.endpoint, peers)?;
            Ok((plan.code, [peers, Proxy::start(gateway.entrance, national)?]))
        });
        proxies.collect()
    }

    fn launches(&self, binaries: &Binaries, members: &[setup::Member]) -> BTreeMap<Node, Launch> {
        let launch = |node, program: &Path, config: &Path, log: &Path| {
            let (program, config, log) = (program.into(), config.into(), log.into());
            (node, Launch { node, program, config, log, log_level: self.log_level.clone() })
        };
        let mut launches = BTreeMap::new();
        for (plan, country) in members {
            launches.extend((1..).zip(country.gateways()).map(|(number, gateway)| {
                launch(Node::replica(plan.code, number), &binaries.gateway, &gateway.config, &gateway.log)
            }));
            launches.extend(country.adapters.values().map(|adapter| {
                launch(Node::Adapter(adapter.authority), &binaries.adapter, &adapter.config, &adapter.log)
            }));
        }
        launches
    }
}

/// How many ports countries need.
fn ports_of(plans: &[CountryPlan]) -> usize {
    let adapters = plans.iter().map(|plan| plan.authorities.len()).sum::<usize>();
    let replicas = plans.iter().map(|plan| usize::from(plan.replicas()) - 1).sum::<usize>();
    GATEWAY_PORTS * plans.len() + REPLICA_PORTS * replicas + ADAPTER_PORTS * adapters
}

/// One in front of the listeners for peers of each country with replicas, and one in front of those for adapters.
fn balancers(members: &[setup::Member]) -> Result<Vec<Balancer>> {
    let mut balancers = Vec::new();
    for (_, country) in members.iter().filter(|(plan, _)| plan.replicas() > 1) {
        let peers = country.gateways().map(|gateway| gateway.peers).collect();
        let national = country.gateways().map(|gateway| gateway.national).collect();
        balancers.push(Balancer::start(country.gateway.endpoint, peers)?);
        balancers.push(Balancer::start(country.gateway.entrance, national)?);
    }
    Ok(balancers)
}

fn is_port_race(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("cannot listen on")
}

impl Home {
    fn new(keep: Option<&Path>) -> Result<Self> {
        let Some(folder) = keep else {
            let folder = tempfile::Builder::new().prefix("federation-").tempdir();
            return Ok(Self::Temporary(folder.context("cannot make a temporary folder")?));
        };
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        let is_empty = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(is_empty, "{} is not empty; give a new folder", folder.display());
        Ok(Self::Kept(folder))
    }
}
