//! What the store is asked to do while its system calls are watched, and what it has answered.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use tokio::task::JoinSet;

use super::super::*;
use crate::store::{Advance, Once};

pub(super) const OTHER: Stream = Stream::new(*b"peer 250");
/// Tasks that push at the same time, and how often each pushes.
const TASKS: u8 = 4;
const PUSHES: u16 = 75;

/// One thing that was asked for or answered, a line of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A push was answered: its task and number, and the numbers of its two entries.
    Pushed { task: u8, push: u16, first: u64, second: u64 },
    /// A purge begins.
    Purging { through: u64 },
    /// A purge was answered.
    Purged { through: u64 },
    /// Answers from before a time begin to be forgotten.
    Forgetting { before: u64 },
}

impl Line {
    fn text(&self) -> String {
        match self {
            Self::Pushed { task, push, first, second } => format!("pushed {task} {push} {first} {second}\n"),
            Self::Purging { through } => format!("purging {through}\n"),
            Self::Purged { through } => format!("purged {through}\n"),
            Self::Forgetting { before } => format!("forgetting {before}\n"),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        Some(match *words.first()? {
            "pushed" => Self::Pushed {
                task: number(1)? as u8,
                push: number(2)? as u16,
                first: number(3)?,
                second: number(4)?,
            },
            "purging" => Self::Purging { through: number(1)? },
            "purged" => Self::Purged { through: number(1)? },
            "forgetting" => Self::Forgetting { before: number(1)? },
            _ => return None,
        })
    }
}

pub(super) fn id(task: u8, push: u16) -> OnceId {
    OnceId::new(&[&[task][..], &push.to_be_bytes()].concat()).unwrap()
}

/// A body that names its push, of a length that differs, so that segments end everywhere.
pub(super) fn body(task: u8, push: u16) -> Vec<u8> {
    let length = 3 + (usize::from(push) * 97 + usize::from(task) * 389) % 2500;
    let mut body = vec![task ^ push as u8; length];
    body[0] = task;
    body[1..3].copy_from_slice(&push.to_be_bytes());
    body
}

pub(super) fn cursor(task: u8) -> CursorName {
    CursorName::new([task; 16])
}

fn push(task: u8, number: u16) -> Change {
    let to = |number: u16| match number {
        0 => Cursor::default(),
        number => Cursor { through: number.into(), link: [7; 32] },
    };
    Change {
        at: number.into(),
        once: vec![Once { id: id(task, number), digest: [task; 32], answer: body(task, number).into() }],
        advances: vec![Advance { cursor: cursor(task), from: to(number), to: to(number + 1) }],
        appends: vec![
            contract::append(STREAM, body(task, number)),
            contract::append(OTHER, body(task, number)),
        ],
        ..Change::default()
    }
}

/// Pushes, purges and forgets in a store below `root`, and tells each answer in one write to `told`. Each task goes on
/// where its cursor stands.
pub(super) async fn run(root: &Path, told: &Path) {
    let told = Arc::new(File::create(told).unwrap());
    let tell = |told: &File, line: Line| (&*told).write_all(line.text().as_bytes()).unwrap();
    let store = Arc::new(open(root));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, told) = (store.clone(), told.clone());
        tasks.spawn(async move {
            let next = store.cursor(cursor(task)).await.unwrap().through as u16;
            for number in next..next + PUSHES {
                let Committed::Done { sequences } = store.commit(push(task, number)).await.unwrap() else {
                    panic!("kept before");
                };
                let (first, second) = (sequences[0], sequences[1]);
                tell(&told, Line::Pushed { task, push: number, first, second });
                if task == 0 && number % 10 == 9 {
                    let through = first.saturating_sub(20);
                    tell(&told, Line::Purging { through });
                    store.purge(STREAM, through).await.unwrap();
                    store.purge(OTHER, through).await.unwrap();
                    tell(&told, Line::Purged { through });
                    let before = u64::from(number.saturating_sub(15));
                    tell(&told, Line::Forgetting { before });
                    store.forget(before).await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    store.close().await.unwrap();
}
