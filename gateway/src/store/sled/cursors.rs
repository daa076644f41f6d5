//! Where cursors stand on disk, kept in memory: a stage asks for one with each page and each call.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use crate::store::{Cursor, CursorName};

/// All cursors that were ever moved. Streams, countries and authorities name them, so there are few.
#[derive(Debug, Default)]
pub(super) struct Cursors(RwLock<BTreeMap<CursorName, Cursor>>);

impl Cursors {
    /// Where one stands.
    pub(super) fn now(&self, name: CursorName) -> Cursor {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&name).copied().unwrap_or_default()
    }

    /// Where all stand, in the order of their names.
    pub(super) fn all<C: FromIterator<(CursorName, Cursor)>>(&self) -> C {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, cursor)| (*name, *cursor)).collect()
    }

    /// Takes in where some stand now. A power cut must not undo it.
    pub(super) fn publish(&self, moved: impl IntoIterator<Item = (CursorName, Cursor)>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(moved);
    }
}
