//! One country's gateway: the real one, on a runtime of its own, so that it can be killed as a process is.
//!
//! Its listeners, services, stages and store are those of `gateway::run_with`; only the loops are not there. The
//! simulation makes their steps itself, so that it knows what happens when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gateway::StartError;
use gateway::clock::Clock;
use gateway::config::Config;
use gateway::inbound::acknowledge::Acknowledge;
use gateway::node::Node;
use gateway::peers::Peers;
use gateway::prepare::prepare_with;
use gateway::stage::Stages;
use gateway::store::Store;
use pki::trust::TrustKeeper;
use proto::ids::CountryCode;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::charter::Charter;
use super::fuse::{Died, Fuse};
use super::logs;
use super::small_disk::SmallDisk;
use super::stores::{Place, StoreKind};

/// Longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long open calls may take when a gateway stops.
const GRACE: Duration = Duration::from_secs(2);
/// Octets that stay free on a gateway's disk, and those that are free on one that has no room: receipts and cursors
/// may still use them.
const ROOM: u64 = 16 << 20;
const FULL: u64 = 12 << 20;
/// What stays free where the disk is the machine's, which nobody can fill: more than there is.
const NO_ROOM: u64 = u64::MAX / 4;
/// Octets of a page: small, so that there are many.
const PAGE: u32 = 4_096;

/// A country's gateway and its folder, whether it runs or not.
pub(super) struct Door {
    /// Whose.
    pub(super) country: u16,
    /// Its time.
    pub(super) clock: Clock,
    /// Where its store is.
    pub(super) place: Arc<Place>,
    /// Whether its disk has no room.
    pub(super) is_full: bool,
    charter: Arc<Charter>,
    home: PathBuf,
    /// The small disks under the store of this life and of those before.
    disks: Vec<SmallDisk>,
    /// Each kill begins another life, in another folder.
    life: u32,
    /// The gateway, if it runs.
    pub(super) running: Option<Running>,
}

/// A gateway that runs.
pub(super) struct Running {
    /// What its stages share.
    pub(super) node: Arc<Node>,
    /// How it calls others.
    pub(super) peers: Arc<Peers>,
    /// Its store.
    pub(super) fuse: Arc<Fuse>,
    /// Its trust list.
    pub(super) keeper: TrustKeeper,
    /// Where peers reach it.
    pub(super) to_peers: SocketAddr,
    /// Where adapters reach it.
    pub(super) to_adapters: SocketAddr,
    receipts: BTreeMap<u16, Arc<tokio::sync::Mutex<Acknowledge>>>,
    stages: Stages,
    handle: Handle,
    runtime: Arc<Mutex<Option<Runtime>>>,
    died: watch::Receiver<Died>,
}

/// What came of a step.
pub(super) enum Stepped<T> {
    /// This.
    Done(T),
    /// The gateway does not run, or was killed meanwhile.
    Dead,
}

impl Door {
    /// A gateway that does not run, with a folder of its own.
    pub(super) fn new(charter: &Arc<Charter>, country: u16, folder: &Path, kind: StoreKind) -> Result<Self> {
        let home = folder.join(country.to_string());
        fs::create_dir_all(home.join("life-0"))?;
        let clock = Clock::still(charter.begins());
        let (charter, place, life) = (charter.clone(), Arc::new(Place::new(kind)?), 0);
        let (is_full, disks) = (false, Vec::new());
        Ok(Self { country, clock, place, is_full, charter, home, disks, life, running: None })
    }

    /// Where its trust list lies.
    pub(super) fn list(&self) -> PathBuf {
        self.home.join("trust.json")
    }

    /// Where its store and its state are.
    pub(super) fn life(&self) -> PathBuf {
        self.home.join(format!("life-{}", self.life))
    }

    /// Whether its store is on a disk that can be full.
    pub(super) fn has_disk(&self) -> bool {
        matches!(*self.place, Place::Folder)
    }

    /// Fills the disk or gives the space back, as the gateway is to have it, if the store is on a disk of its own;
    /// whether it is.
    pub(super) fn fill_or_clear(&self) -> Result<bool> {
        let Some(disk) = self.own_disk() else { return Ok(false) };
        if self.is_full {
            disk.fill(FULL)?;
        } else {
            disk.clear()?;
        }
        Ok(true)
    }

    fn own_disk(&self) -> Option<&SmallDisk> {
        let store = self.life().join("store");
        self.disks.iter().find(|disk| disk.is_under(&store))
    }

    /// Puts the store of this life on a disk of its own if it is to be full, where that can be done.
    fn prepare_disk(&mut self) -> Result<()> {
        if self.is_full && self.has_disk() && self.own_disk().is_none() {
            self.disks.extend(SmallDisk::under(&self.life().join("store"))?);
        }
        self.fill_or_clear().map(drop)
    }

    /// Starts it, or says why it does not start. `reaper` is where its death is noticed; `loopback` its own address.
    pub(super) fn start(&mut self, reaper: &Handle, loopback: u16) -> Result<Result<(), StartError>> {
        self.prepare_disk()?;
        let config = self.config()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("gateway-{}", self.country))
            .on_thread_start(logs::into(
                File::options().create(true).append(true).open(self.home.join("log"))?,
            ))
            .enable_all()
            .build()?;
        let (stop, clock) = (CancellationToken::new(), self.clock.clone());
        let (image, fuse) = (self.image(), Arc::<OnceLock<Arc<Fuse>>>::default());
        let slot = fuse.clone();
        let wrap =
            move |store| -> Arc<dyn Store> { slot.get_or_init(|| Arc::new(Fuse::new(store, image))).clone() };
        let prepared = runtime.spawn(prepare_with(config, clock, stop.clone(), wrap));
        let (node, keeper) = match runtime.block_on(prepared)? {
            Ok(prepared) => prepared,
            Err(cause) => {
                runtime.shutdown_background();
                return Ok(Err(cause));
            }
        };
        let (node, fuse) = (Arc::new(node), fuse.get().context("a prepared gateway has a store")?.clone());
        let stages = Stages::new(stop);
        let bound = runtime.block_on(async {
            let listeners = (listener().await?, listener().await?);
            let addresses = (listeners.0.local_addr()?, listeners.1.local_addr()?);
            gateway::start::answer(&node, listeners, &stages)?;
            Ok::<_, anyhow::Error>(addresses)
        })?;
        let peers = Arc::new(Peers::new(node.clone(), format!("https://127.0.0.1:{loopback}")));
        let (handle, died) = (runtime.handle().clone(), fuse.watch());
        let runtime = Arc::new(Mutex::new(Some(runtime)));
        reaper.spawn(reap(runtime.clone(), died.clone()));
        let (to_peers, to_adapters) = bound;
        self.running = Some(Running {
            node,
            peers,
            fuse,
            keeper,
            to_peers,
            to_adapters,
            receipts: BTreeMap::new(),
            stages,
            handle,
            runtime,
            died,
        });
        Ok(Ok(()))
    }

    /// Copies store and state to where the next life looks for them.
    fn image(&self) -> super::fuse::Image {
        let (life, next) = (self.life(), self.home.join(format!("life-{}", self.life + 1)));
        let place = self.place.clone();
        Box::new(move || {
            place.image(&life, &next)?;
            super::fuse::copy(&life.join("state"), &next.join("state"))
        })
    }

    fn config(&self) -> Result<Config> {
        let file = |name: &str| format!("{:?}", self.charter.file(self.country, name));
        let (life, anchors) = (self.life(), self.charter.anchors());
        let [store, table] = self.place.configured(&life);
        let text = format!(
            "country = {}\n{store}\nstate = {:?}\nsigning_key = {}\n\
             [listen]\npeers = \"127.0.0.1:0\"\nnational = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [identity]\ncertificate = {}\nkey = {}\nhpke_keys = [{}]\n\
             [trust]\nlist = {:?}\nanchors = {anchors:?}\nthreshold = 2\n{table}",
            self.country,
            life.join("state"),
            file("signing.key"),
            file("gateway.crt"),
            file("gateway.key"),
            file("ingress.key"),
            self.list(),
        );
        let mut config = Config::parse(&text, "simulated").map_err(|cause| anyhow!("{cause}"))?;
        config.limits.free_disk_bytes =
            if self.is_full && self.own_disk().is_none() { NO_ROOM } else { ROOM };
        // Less than a configuration file may say: nobody waits at a tail, and pages are short.
        (config.pull.wait_seconds, config.pull.page_bytes) = (0, PAGE);
        Ok(config)
    }

    /// Stops it as SIGTERM does.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.handle.block_on(async {
            running.node.stop.cancel();
            running.stages.tasks().close();
            // Whoever is idle at the other end of a connection need not hold us up.
            let _ = timeout(GRACE, running.stages.tasks().wait()).await;
            running.node.store.close().await
        })?;
        running.end();
        Ok(())
    }

    /// Ends it without more ado.
    pub(super) fn abandon(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }

    /// Puts a killed gateway away. Gives whether there was one.
    pub(super) fn bury(&mut self) -> Result<bool> {
        let died = self.running.as_ref().map_or(Died::Not, |running| running.died.borrow().clone());
        match died {
            Died::Not => return Ok(false),
            Died::NoImage(cause) => return Err(anyhow!("no image of gateway {}: {cause}", self.country)),
            Died::Killed => self.life += 1,
        }
        self.abandon();
        Ok(true)
    }

    /// Lets the gateway do something, on its own runtime.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        step: impl Future<Output = T> + Send + 'static,
    ) -> Result<Stepped<T>> {
        let Some(running) = &self.running else { return Ok(Stepped::Dead) };
        let mut died = running.died.clone();
        let done = running.handle.spawn(step);
        let ended = async {
            tokio::select! {
                done = done => done.map_or_else(|end| if end.is_panic() { Err(anyhow!("a step panicked: {end}")) } else { Ok(Stepped::Dead) }, |done| Ok(Stepped::Done(done))),
                _ = died.wait_for(|died| *died != Died::Not) => Ok(Stepped::Dead),
            }
        };
        timeout(PATIENCE, ended).await.context("a step did not end in time")?
    }
}

impl Running {
    /// What sends receipts to an origin.
    pub(super) fn receipts(&mut self, origin: CountryCode) -> Arc<tokio::sync::Mutex<Acknowledge>> {
        let (node, peers) = (self.node.clone(), self.peers.clone());
        let new = || Arc::new(tokio::sync::Mutex::new(Acknowledge::new(node, peers, origin)));
        self.receipts.entry(origin.number()).or_insert_with(new).clone()
    }

    /// Its store, as its contract says and not as the gateway sees it.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.fuse.store()
    }

    fn end(self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        runtime.into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Ends everything in a gateway at the moment when it is killed.
async fn reap(runtime: Arc<Mutex<Option<Runtime>>>, mut died: watch::Receiver<Died>) {
    // Nobody can kill it any more once the other half is gone.
    if died.wait_for(|died| *died != Died::Not).await.is_ok() {
        let runtime = runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        runtime.into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn listener() -> Result<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?)
}
