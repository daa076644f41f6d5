//! Mending and moving: see [`Upkeep`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{SledStore, committer::Job, parts::Parts, restore::Mend};
use crate::store::{
    Cursor, CursorName, OnceId, StoreError, Stream,
    upkeep::{Damaged, DamagedAnswer, KeptAnswer, Piece, Upkeep},
};

#[async_trait]
impl Upkeep for SledStore {
    fn damaged(&self) -> watch::Receiver<BTreeMap<(Stream, u64), Damaged>> {
        self.parts.damage.watch()
    }

    async fn mend(&self, stream: Stream, sequence: u64, octets: (Bytes, Bytes)) -> Result<(), StoreError> {
        let (head, body) = octets;
        self.ask(|reply| Job::Mend(Mend { stream, sequence, head, body }, reply)).await
    }

    async fn cursors(&self) -> Result<Vec<(CursorName, Cursor)>, StoreError> {
        self.parts.health.check()?;
        Ok(self.parts.cursors.all())
    }

    async fn answers(
        &self,
        after: Option<OnceId>,
        limit: usize,
    ) -> Result<Vec<Result<KeptAnswer, DamagedAnswer>>, StoreError> {
        let kept = |parts: &Parts, id: OnceId| match parts.kept_answer(id.clone()) {
            Err(StoreError::Corrupt { what }) => Ok(Some(Err(DamagedAnswer { id, what }))),
            kept => Ok(kept?.map(Ok)),
        };
        self.read(move |parts| {
            let rows = parts.index.once_after(after.as_ref(), limit)?;
            rows.into_iter().filter_map(|(id, _)| kept(parts, id).transpose()).collect()
        })
        .await
    }

    async fn restore(&self, pieces: Vec<Piece>) -> Result<(), StoreError> {
        self.ask(|reply| Job::Restore(pieces, reply)).await
    }
}
