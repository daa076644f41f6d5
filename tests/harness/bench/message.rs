//! What the command and the adapters that it starts say to each other: a JSON object a line, on their inputs and
//! outputs.

use std::io::{BufRead, Write};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// What an adapter is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Push without a pause, until the stop.
    Steady {
        /// So many pushes at the same time.
        in_flight: usize,
        /// While no more than so many tokens, beside those of the pushes under way, are not opened.
        ahead: u64,
    },
    /// Push at these times, whether those before are answered or not.
    Paced {
        /// Nanoseconds between two.
        every: u64,
        /// So many.
        pushes: u64,
    },
    /// No new pushes.
    Stop,
    /// So many tokens have been opened so far.
    Opened {
        /// All of them.
        tokens: u64,
    },
    /// Write down what is opened from now on.
    Record,
    /// Say what was written down.
    Recorded,
    /// Say what has come in all.
    Account,
}

/// What an adapter says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// It has read its keys and reached its gateway.
    Ready,
    /// So far.
    Progress(Progress),
    /// All that it was to push is answered.
    Rested {
        /// Tokens accepted so far, in all phases.
        tokens: u64,
        /// Calls that had to be made again.
        again: u64,
        /// The pushes of a paced phase.
        pushes: Vec<Push>,
    },
    /// What was opened while it was written down.
    Recorded(Vec<Arrival>),
    /// What has come in all.
    Account(Account),
    /// It cannot go on.
    Failed {
        /// Why.
        error: String,
    },
}

/// How many tokens were accepted or opened at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// When, on the machine's clock.
    pub(super) at: u64,
    /// So many, in all phases.
    pub(super) tokens: u64,
}

/// A push, on the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Push {
    /// Its number.
    pub(super) number: u64,
    /// When it was to be made.
    pub(super) due: u64,
    /// When its answer had come.
    pub(super) accepted: u64,
}

/// Tokens of one push in one batch, opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrival {
    /// The number of their push.
    pub(super) push: u64,
    /// How many.
    pub(super) tokens: u32,
    /// When all of them could be read.
    pub(super) opened: u64,
}

/// Everything that was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Different tokens.
    pub(super) distinct: u64,
    /// Copies of them beyond the first.
    pub(super) repeated: u64,
    /// Reports that nobody sent, or that are not for who got them.
    pub(super) strange: u64,
    /// Batches.
    pub(super) batches: u64,
}

/// Says something to the command.
pub(super) fn say(told: &Told) -> Result<()> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}

/// What the command says, until it is gone.
pub(super) fn orders() -> mpsc::UnboundedReceiver<Order> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            // Whoever does not understand an order ends, and is missed.
            if order.is_none_or(|order| sender.send(order).is_err()) {
                return;
            }
        }
    });
    receiver
}
