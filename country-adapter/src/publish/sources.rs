//! Two sources of work as one: the spool, which is asked first, and the national backend.

use std::sync::Arc;

use super::spool::Spool;
use crate::backend::{Backend, BackendError};
use crate::work::{Answer, Outcome, Outgoing, WorkName};

/// Both of them.
pub struct Sources {
    spool: Arc<Spool>,
    backend: Arc<dyn Backend>,
}

impl Sources {
    /// Both.
    #[must_use]
    pub fn new(spool: Arc<Spool>, backend: Arc<dyn Backend>) -> Self {
        Self { spool, backend }
    }

    fn of(&self, work: &WorkName) -> Result<&dyn Backend, BackendError> {
        Ok(if self.spool.has(work, &*self.backend)? { &self.spool.folder } else { &*self.backend })
    }
}

impl Backend for Sources {
    fn claimed(&self) -> Result<Vec<WorkName>, BackendError> {
        let mut claimed = self.spool.folder.claimed()?;
        claimed.extend(self.backend.claimed()?);
        Ok(claimed)
    }

    fn outgoing(&self) -> Result<Option<WorkName>, BackendError> {
        match self.spool.folder.outgoing()? {
            Some(work) => Ok(Some(work)),
            None => self.backend.outgoing(),
        }
    }

    fn waiting(&self) -> Result<usize, BackendError> {
        Ok(self.spool.folder.waiting()? + self.backend.waiting()?)
    }

    fn read(
        &self,
        work: &WorkName,
        visit: &mut dyn FnMut(Outgoing) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        self.of(work)?.read(work, visit)
    }

    fn answer(
        &self,
        work: &WorkName,
        answers: &mut dyn Iterator<Item = &Answer>,
    ) -> Result<(), BackendError> {
        self.of(work)?.answer(work, answers)
    }

    fn finish(&self, work: &WorkName, outcome: Outcome) -> Result<(), BackendError> {
        if self.spool.has(work, &*self.backend)? {
            self.spool.finish(work, outcome)
        } else {
            self.backend.finish(work, outcome)
        }
    }
}
