//! What every fault acts on: the federation, its traffic, and the account that is closed after each of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster::Cluster;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::book::{Account, Book};
use super::leaked::Search;
use super::namespace::Namespace;
use super::plan::{Fault, Pace};
use super::summary::Row;
use super::traffic::{Flow, Traffic};
use super::{clock, database, database_disk, disk, kills, lines, loss, stopped};
use crate::federation::Federation;
use crate::reports::today;
use crate::wait;

/// How long a fault may take to meet traffic on a machine that is overloaded.
const SHOWN: Duration = Duration::from_secs(30);
/// How often it is looked whether everything has come.
const LOOK: Duration = Duration::from_millis(50);

/// A federation under faults.
pub(super) struct Scene {
    // The backends end before the federation whose folders they use.
    pub(super) traffic: Traffic,
    pub(super) federation: Federation,
    pub(super) random: StdRng,
    pub(super) pace: Pace,
    pub(super) namespace: Namespace,
    search: Search,
    /// What the gateways are over, if it is not a folder. It ends after them.
    pub(super) cluster: Option<Arc<Cluster>>,
}

/// What became of a fault.
#[derive(Debug)]
pub(super) enum Struck {
    /// It happened.
    Yes {
        /// What was done, for people.
        did: String,
        /// How often.
        times: usize,
        /// How many processes were killed.
        kills: usize,
    },
    /// It cannot be made on this machine, and why.
    NotHere(String),
}

impl Struck {
    /// A fault that killed nobody.
    pub(super) fn yes(times: usize, did: String) -> Self {
        Self::Yes { did, times, kills: 0 }
    }
}

impl Scene {
    pub(super) fn new(
        (federation, cluster): (Federation, Option<Arc<Cluster>>),
        pace: Pace,
        seed: u64,
        namespace: Namespace,
    ) -> Result<Self> {
        let mut mark = [0; 8];
        getrandom::fill(&mut mark).context("the system has no random numbers")?;
        // A day ago, so that a clock that is an hour off changes no verdict.
        let traffic = Traffic::start(&federation, Book::new(mark, today().minus(1)));
        let random = StdRng::seed_from_u64(seed);
        Ok(Self { search: Search::new(mark)?, cluster, traffic, federation, random, pace, namespace })
    }

    /// Makes a fault while traffic runs, waits until everything has come, and closes the account.
    pub(super) async fn row(&mut self, fault: Fault) -> Result<Row> {
        let began = Instant::now();
        self.traffic.flow(Flow::All);
        let struck = self.strike(fault).await.with_context(|| fault.to_string())?;
        let account = self.settle().await.with_context(|| format!("after {fault}"))?;
        Ok(Row::new(fault, struck, account, began.elapsed()))
    }

    async fn strike(&mut self, fault: Fault) -> Result<Struck> {
        match fault {
            Fault::None => self.nothing().await,
            Fault::KillAtStages(way) => kills::at_each_stage(self, &way.nodes()).await,
            Fault::KillAtRandom(kills) => kills::at_random(self, kills).await,
            Fault::Stop => stopped::strike(self).await,
            Fault::Line(trouble) => lines::strike(self, trouble).await,
            Fault::Loss => loss::strike(self).await,
            Fault::GatewayDisk => disk::of_a_gateway(self).await,
            Fault::Database(times) => database::strike(self, times).await,
            Fault::DatabaseLine(trouble) => lines::to_the_database(self, trouble).await,
            Fault::DatabaseDisk => database_disk::strike(self).await,
            Fault::AdapterDisk => disk::of_an_adapter(self).await,
            Fault::Clock => clock::strike(self).await,
        }
    }

    async fn nothing(&mut self) -> Result<Struck> {
        self.hold(self.pace.trouble).await?;
        Ok(Struck::yes(1, "traffic alone, to compare with".into()))
    }

    /// Lets time pass while traffic runs, and more of it until a fault has shown, if it does so soon.
    pub(super) async fn hold_until(
        &mut self,
        time: Duration,
        has_shown: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        self.hold(time).await?;
        let until = Instant::now() + SHOWN;
        while !has_shown(self) && Instant::now() < until {
            self.hold(LOOK).await?;
        }
        Ok(())
    }

    /// Lets time pass while traffic runs.
    pub(super) async fn hold(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
            self.federation.check_all_run()?;
        }
        self.traffic.look(&self.federation).map(drop)
    }

    /// Stops handing over, waits for every answer and arrival, and looks for leaks.
    async fn settle(&mut self) -> Result<Account> {
        self.traffic.flow(Flow::Nobody);
        let deadline = Instant::now() + self.pace.patience;
        while self.traffic.look(&self.federation)? > 0 {
            if Instant::now() >= deadline {
                let waits = self.traffic.book().waits().join("; ");
                eprintln!("not within {} s: {waits}", self.pace.patience.as_secs());
                break;
            }
            self.federation.check_all_run()?;
            tokio::time::sleep(LOOK).await;
        }
        let federation = &self.federation;
        let homes = federation.adapters().flat_map(|adapter| [&*adapter.outgoing, &*adapter.delivered]);
        let leaks = self.search.find(&self.written(), &homes.collect::<Vec<_>>())?;
        leaks.iter().for_each(|file| eprintln!("LEAK: a token in {}", file.display()));
        Ok(Account { leaked: leaks.len(), ..self.traffic.book().close() })
    }

    /// The folders of everything that parties write: files, logs, and the database's own.
    fn written(&self) -> Vec<PathBuf> {
        let databases = self.federation.countries().filter_map(|(_, country)| country.database.as_ref());
        let databases = databases.filter_map(|database| Some(database.socket.parent()?.join("data")));
        let mut folders: Vec<_> = databases.collect();
        folders.push(self.federation.folder().into());
        folders.sort();
        folders.dedup();
        folders
    }

    /// Waits for a condition on what has arrived; false if it does not come in time.
    pub(super) async fn until(
        &mut self,
        limit: Duration,
        condition: impl Fn(&Traffic) -> bool,
    ) -> Result<bool> {
        let Self { traffic, federation, .. } = self;
        let mut looked = Ok(());
        let met = wait::until("a stage", limit, async || match traffic.look(federation) {
            Ok(_) => condition(traffic).then_some(()),
            Err(error) => {
                looked = Err(error);
                Some(())
            }
        });
        let met = met.await.is_ok();
        looked.map(|()| met)
    }
}
