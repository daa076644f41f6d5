//! Keys that have arrived, for systems that read what EFGS has given them: one `DiagnosisKeyBatch` a piece.

use pki::disk::DiskError;
use proto::ids::{Authority, CountryCode};
use proto::report::{DiagnosisKey, IllKey};

use super::efgs;
use crate::intake::{Event, Folder, Outlet, Piece, PieceName};

/// The ending of a batch.
pub const ENDING: &str = ".efgs";

/// An outlet of the desk: a folder of batches.
pub struct Exports(Folder);

impl Exports {
    /// Writes into a folder.
    #[must_use]
    pub fn new(folder: Folder) -> Self {
        Self(folder)
    }
}

impl Outlet for Exports {
    fn stage(&self, piece: &Piece<'_>) -> Result<(), DiskError> {
        let keys: Vec<_> =
            piece.events().iter().filter_map(|event| gaen(event, piece.source().origin())).collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.0.write(piece.name(), |file| file.write_all(&efgs::write(&keys)))
    }

    fn publish(&self, name: &PieceName) -> Result<(), DiskError> {
        self.0.publish(name)
    }

    fn discard(&self, name: &PieceName) -> Result<(), DiskError> {
        self.0.discard(name)
    }

    fn staged(&self) -> Result<Vec<PieceName>, DiskError> {
        self.0.staged()
    }
}

/// A key of GAEN with the country that confirmed the case.
fn gaen(event: &Event<'_>, from: CountryCode) -> Option<(DiagnosisKey, CountryCode)> {
    let Event::Key(key) = event else { return None };
    let origin = match key.issuer {
        Authority::State(country, _) => country,
        Authority::Opaque(_) => from,
    };
    matches!(key.key, IllKey::Gaen(..)).then_some((*key, origin))
}
