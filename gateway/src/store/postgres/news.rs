//! What other replicas commit: told by the database, and asked for every now and then in case it was not heard.

use std::{collections::BTreeSet, future::poll_fn, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_postgres::AsyncMessage;
use tracing::{debug, warn};

use super::{
    database::Database,
    failure::Failure,
    hosts::Connection,
    rows,
    transaction::{CHANNEL, hex},
};
use crate::store::{StoreError, Stream, tails::Tails};

/// Keeps the tails up to date.
pub(super) struct News {
    pub(super) database: Arc<Database>,
    pub(super) tails: Arc<Tails>,
    pub(super) elsewhere: watch::Sender<u64>,
    /// Whose own news is no news.
    pub(super) process: [u8; 16],
    /// How often tails are asked for if nobody tells.
    pub(super) poll: Duration,
}

/// What is known to have moved.
enum Moved {
    Tails(BTreeSet<Stream>),
    Anything,
}

impl News {
    /// Listens and asks, neither of which waits for the other, until it is dropped.
    pub(super) async fn run(self) {
        tokio::join!(self.hear(), self.ask());
    }

    /// Listens, and listens anew when the line is cut.
    async fn hear(&self) {
        let mut is_told = false;
        loop {
            if let Err(failure) = self.listen(&mut is_told).await {
                if !is_told {
                    warn!(?failure, "news of other replicas is not heard; it is asked for until it is");
                }
                is_told = true;
            }
            sleep(self.poll).await;
        }
    }

    /// Asks every now and then, also while much is told. Rings only if somebody else has committed since: all that is
    /// rung for is looked at anew.
    async fn ask(&self) {
        let mut known = None;
        let mut polls = interval_at(Instant::now() + self.poll, self.poll);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            // The groups first: what is committed between the two reads rings the next time.
            let asked = async {
                let groups = self.groups().await?;
                self.refresh(&Moved::Anything).await?;
                Ok::<_, StoreError>(groups)
            };
            match asked.await {
                Ok(groups) if known.as_ref() != Some(&groups) => {
                    self.ring();
                    known = Some(groups);
                }
                Ok(_) => {}
                Err(error) => debug!(%error, "news of other replicas is not known"),
            }
        }
    }

    /// The last group that each other process has committed.
    async fn groups(&self) -> Result<Vec<([u8; 16], u64)>, StoreError> {
        let statement = "SELECT process, kept FROM writer WHERE process <> $1 ORDER BY process";
        let rows = self.database.ask(statement, &[&self.process.as_slice()]).await?;
        rows.iter().map(|row| Ok((rows::octets(row, 0)?, rows::number(row, 1)?))).collect()
    }

    /// Listens until the line is cut.
    async fn listen(&self, is_told: &mut bool) -> Result<(), Failure> {
        let (client, connection) = self.database.alone().await?;
        let (tell, mut heard) = mpsc::unbounded_channel();
        let follow = async {
            let listens = async { Ok(client.batch_execute(&format!("LISTEN {CHANNEL}")).await?) };
            self.database.within(listens).await?;
            *is_told = false;
            // What was committed before the database began to tell.
            let mut moved = Some(Moved::Anything);
            loop {
                if let Some(moved) = moved {
                    self.refresh(&moved).await?;
                    self.ring();
                }
                let Some(first) = heard.recv().await else { return Ok(()) };
                let mut all = vec![first];
                while let Ok(more) = heard.try_recv() {
                    all.push(more);
                }
                moved = self.moved(&all);
            }
        };
        tokio::select! {
            ended = pass_on(connection, tell) => ended,
            ended = follow => ended,
        }
    }

    /// What others say; nothing if all of it is our own.
    fn moved(&self, told: &[String]) -> Option<Moved> {
        let own = hex(&self.process);
        let others = told.iter().filter_map(|text| text.split_once(' ').or(Some((text, ""))));
        let others: Vec<&str> =
            others.filter(|(process, _)| *process != own).map(|(_, streams)| streams).collect();
        if others.is_empty() {
            return None;
        }
        let named = others.iter().flat_map(|streams| streams.split_whitespace()).map(stream);
        Some(named.collect::<Option<_>>().map_or(Moved::Anything, Moved::Tails))
    }

    /// Reads tails.
    async fn refresh(&self, moved: &Moved) -> Result<(), StoreError> {
        let known = self.tails.all_known();
        let rows = match moved {
            Moved::Anything => self.database.ask("SELECT name, last, link FROM stream", &[]).await?,
            Moved::Tails(streams) if streams.is_empty() => Vec::new(),
            Moved::Tails(streams) => {
                let names: Vec<Vec<u8>> = streams.iter().map(|stream| stream.octets().to_vec()).collect();
                let statement = "SELECT name, last, link FROM stream WHERE name = ANY($1)";
                self.database.ask(statement, &[&names]).await?
            }
        };
        for (stream, tail) in rows.iter().map(rows::tail).collect::<Result<Vec<_>, _>>()? {
            self.tails.found(stream, known.get(&stream).copied().unwrap_or_default(), tail);
        }
        Ok(())
    }

    /// For who waits for anything else than a tail.
    fn ring(&self) {
        self.elsewhere.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The connection works only while somebody polls it.
async fn pass_on(mut connection: Connection, tell: mpsc::UnboundedSender<String>) -> Result<(), Failure> {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(told) = message? {
            let _ = tell.send(told.payload().to_owned());
        }
    }
    Err(Failure::Away("the connection that listens was closed".into()))
}

fn stream(text: &str) -> Option<Stream> {
    let octets = (0..8).map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok());
    let octets: Option<Vec<u8>> = octets.collect();
    octets?.try_into().ok().filter(|_| text.len() == 16).map(Stream::new)
}
