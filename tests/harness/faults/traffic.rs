//! Continuous traffic: every authority's backend puts files of numbered tokens into its adapter's folder, and reads
//! what was answered. Never more than a few files wait, so that a fault is met by traffic and not by a heap of it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proto::ids::Authority;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::book::Book;
use crate::backend;
use crate::federation::Federation;
use crate::place::AdapterPlace;

/// Tokens for each other authority in a file.
const EACH: usize = 8;
/// A backend's files that may wait for their answers at the same time.
const WAITING: usize = 4;
/// How often a backend hands over a file.
const EVERY: Duration = Duration::from_millis(150);
/// How often it looks for answers.
const LOOK: Duration = Duration::from_millis(25);

/// Backends at work. They end when it is dropped.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    /// Delivered files that were read.
    read: HashSet<PathBuf>,
    _backends: Vec<AbortOnDropHandle<()>>,
}

struct Shared {
    book: Mutex<Book>,
    /// Files that were handed over, and the numbers of their tokens, line by line.
    waiting: Mutex<BTreeMap<File, Vec<usize>>>,
    flow: watch::Sender<Flow>,
    /// Why a backend has given up.
    broken: Mutex<Option<anyhow::Error>>,
}

/// A backend and the name of one of its files.
type File = (Authority, String);

/// Who hands over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nobody. Answers are still read.
    Nobody,
    /// Everybody.
    All,
    /// Everybody else.
    But(Authority),
}

impl Flow {
    fn covers(self, authority: Authority) -> bool {
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::But(other) => other != authority,
        }
    }
}

impl Traffic {
    /// Starts a backend for every authority; they hand over nothing until they are told to.
    pub(super) fn start(federation: &Federation, book: Book) -> Self {
        let (flow, _) = watch::channel(Flow::Nobody);
        let shared = Arc::new(Shared {
            book: Mutex::new(book),
            waiting: Mutex::default(),
            flow,
            broken: Mutex::default(),
        });
        let all: Vec<_> = federation.adapters().map(|adapter| adapter.authority).collect();
        let backends = federation.adapters().map(|adapter| {
            let others = all.iter().copied().filter(|other| *other != adapter.authority).collect();
            let backend = Backend { adapter: adapter.clone(), others, shared: shared.clone() };
            AbortOnDropHandle::new(tokio::spawn(backend.run()))
        });
        let backends = backends.collect();
        Self { shared, read: HashSet::new(), _backends: backends }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }

    /// From now on these hand over files.
    pub(super) fn flow(&self, flow: Flow) {
        self.shared.flow.send_replace(flow);
    }

    /// Hands over one more file, of tokens for one authority; gives its name and the first token's number.
    pub(super) fn hand_over(&self, adapter: &AdapterPlace, to: Authority) -> Result<(String, usize)> {
        let (name, numbers) = self.shared.hand_over(adapter, &[to])?;
        Ok((name, *numbers.first().context("a file has tokens")?))
    }

    /// Whether a file of a backend waits for its answers.
    pub(super) fn waits(&self, by: Authority, name: &str) -> bool {
        self.shared.waiting().contains_key(&(by, name.to_owned()))
    }

    /// Whether any file of a backend waits for its answers.
    pub(super) fn has_waiting(&self, by: Authority) -> bool {
        self.shared.waiting().keys().any(|(authority, _)| *authority == by)
    }

    /// Reads what has been delivered since the last time, and gives how many tokens wait for an answer or an arrival.
    pub(super) fn look(&mut self, federation: &Federation) -> Result<usize> {
        if let Some(broken) = self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(broken);
        }
        for adapter in federation.adapters() {
            for file in backend::delivered_paths(adapter)? {
                if !self.read.contains(&file) {
                    let reports = backend::delivered_in(&file)?;
                    let mut book = self.shared.book();
                    reports.iter().for_each(|report| book.arrived(adapter.authority, report));
                    self.read.insert(file);
                }
            }
        }
        Ok(self.book().open())
    }
}

/// One authority's backend.
struct Backend {
    adapter: AdapterPlace,
    others: Vec<Authority>,
    shared: Arc<Shared>,
}

impl Backend {
    async fn run(self) {
        let mut handed = Instant::now();
        loop {
            if let Err(error) = self.step(&mut handed) {
                let error = error.context(format!("the backend of {}", self.adapter.authority));
                *self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn step(&self, handed: &mut Instant) -> Result<()> {
        let by = self.adapter.authority;
        self.shared.take_answers(&self.adapter)?;
        let waiting = self.shared.waiting().keys().filter(|(authority, _)| *authority == by).count();
        if self.shared.flow.borrow().covers(by) && waiting < WAITING && handed.elapsed() >= EVERY {
            *handed = Instant::now();
            self.shared.hand_over(&self.adapter, &self.others)?;
        }
        Ok(())
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<File, Vec<usize>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a file of tokens for some authorities; gives its name and the numbers of its tokens.
    fn hand_over(&self, adapter: &AdapterPlace, to: &[Authority]) -> Result<(String, Vec<usize>)> {
        let (by, mut numbers, mut lines) = (adapter.authority, Vec::new(), Vec::new());
        let mut book = self.book();
        for to in to.iter().flat_map(|to| std::iter::repeat_n(*to, EACH)) {
            let (number, contact) = book.next(by, to);
            numbers.push(number);
            lines.push(contact.line());
        }
        drop(book);
        let name = backend::submit(adapter, &lines)?;
        self.waiting().insert((by, name.clone()), numbers.clone());
        Ok((name, numbers))
    }

    /// Reads what was answered and takes it away.
    fn take_answers(&self, adapter: &AdapterPlace) -> Result<()> {
        for (name, path) in backend::answered(adapter)? {
            // An adapter that was killed may answer a file again; that says nothing new.
            let Some(numbers) = self.waiting().remove(&(adapter.authority, name)) else { continue };
            let answers = backend::answers_in(&path)?;
            let mut book = self.book();
            for answer in answers {
                let number = answer.line.checked_sub(1).and_then(|at| numbers.get(at));
                book.answered(*number.context("an answer names a line of its file")?, &answer.verdict);
            }
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}
