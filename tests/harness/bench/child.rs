//! A stand-in adapter as a process of its own, told what to do and heard by the command.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc, watch};

use super::message::{Order, Progress, Told};

/// How long an answer may take that needs no work.
const ANSWER: Duration = Duration::from_secs(20);

/// A process that runs. Dropping it kills it.
pub(super) struct Child {
    process: tokio::process::Child,
    input: Arc<Mutex<ChildStdin>>,
    told: mpsc::UnboundedReceiver<Told>,
    progress: watch::Receiver<Progress>,
    course: Course,
}

/// How far it was at each moment at which it said so.
type Course = Arc<std::sync::Mutex<Vec<Progress>>>;

impl Child {
    /// Starts it with these words behind the program's name, and waits until it is ready.
    pub(super) async fn start(program: &Path, words: &[String], log: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let input = process.stdin.take().context("its input is ours")?;
        let output = process.stdout.take().context("its output is ours")?;
        let ((told, receiver), (seen, progress)) =
            (mpsc::unbounded_channel(), watch::channel(Progress::default()));
        let course = Course::default();
        tokio::spawn(hear(output, told, (seen, course.clone())));
        let input = Arc::new(Mutex::new(input));
        let mut child = Self { process, input, told: receiver, progress, course };
        match child.hear(ANSWER).await {
            Ok(Told::Ready) => Ok(child),
            Ok(other) => bail!("{words:?} says {other:?} and not that it is ready"),
            Err(error) => {
                Err(error.context(format!("{words:?} does not begin: {}", crate::process::tail(log))))
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Result<u32> {
        self.process.id().context("a stand-in adapter has ended by itself")
    }

    /// Tells it to do something.
    pub(super) async fn order(&self, order: &Order) -> Result<()> {
        order_to(&self.input, order).await
    }

    /// What it says next, but for progress.
    pub(super) async fn hear(&mut self, limit: Duration) -> Result<Told> {
        let told = tokio::time::timeout(limit, self.told.recv()).await;
        match told.context("a stand-in adapter does not answer in time")? {
            Some(Told::Failed { error }) => bail!("a stand-in adapter cannot go on: {error}"),
            told => told.context("a stand-in adapter has ended by itself"),
        }
    }

    /// An error if it has said that it cannot go on.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.told.try_recv() {
            Ok(Told::Failed { error }) => bail!("a stand-in adapter cannot go on: {error}"),
            _ => Ok(()),
        }
    }

    /// What it answers to an order.
    pub(super) async fn ask(&mut self, order: &Order) -> Result<Told> {
        self.order(order).await?;
        self.hear(ANSWER).await
    }

    /// How far it is.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// When it had so many, as it said so first.
    pub(super) fn reached(&self, tokens: u64) -> Option<Progress> {
        let course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let place = course.partition_point(|progress| progress.tokens < tokens);
        course.get(place).copied()
    }

    /// Its input, for whoever tells it how far another one is.
    pub(super) fn input(&self) -> Arc<Mutex<ChildStdin>> {
        self.input.clone()
    }
}

/// Writes an order.
pub(super) async fn order_to(input: &Mutex<ChildStdin>, order: &Order) -> Result<()> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    let mut input = input.lock().await;
    input.write_all(&line).await.context("a stand-in adapter has ended by itself")
}

async fn hear(
    output: ChildStdout,
    told: mpsc::UnboundedSender<Told>,
    (progress, course): (watch::Sender<Progress>, Course),
) -> Result<()> {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Told::Progress(now) => {
                course.lock().unwrap_or_else(PoisonError::into_inner).push(now);
                progress.send_replace(now);
            }
            other => told.send(other)?,
        }
    }
    Ok(())
}
