//! The kinds of store that a simulated gateway may have.

use std::io;
use std::path::Path;

use super::fuse;

/// A kind of store: what a configuration says of it, and what a kill leaves of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// Segment files and an index, in a folder.
    #[default]
    Embedded,
}

impl StoreKind {
    /// The value of `store` in the configuration of a gateway that lives in this folder.
    pub fn configured(self, life: &Path) -> String {
        match self {
            Self::Embedded => life.join("store").display().to_string(),
        }
    }

    /// Copies what a kill at this moment leaves, from one life's folder to the next one's.
    pub fn image(self, life: &Path, next: &Path) -> io::Result<()> {
        match self {
            Self::Embedded => fuse::copy(&life.join("store"), &next.join("store")),
        }
    }
}
