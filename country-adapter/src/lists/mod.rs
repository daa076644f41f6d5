//! What phones download: signed, numbered increments of forty-octet entries.
//!
//! Every phone of an authority gets the same lists, and finds itself in them alone. `queue` is what the desk has put
//! down, `poster` makes increments of it, `store` keeps and serves them, and `reader` is what a phone does with them.

mod dummies;
mod entry;
mod increment;
mod poster;
pub mod queue;
pub mod reader;
mod remembered;
mod store;

pub use entry::{Advice, Entry, ListKind, Visit};
pub use increment::{Checked, Head, Increment, Parameters};
pub use poster::{Places, Posted, Poster, run};
pub use store::{Damaged, Part, SinceError, Store};

use crate::risk::{Mechanism, Threshold};
use proto::ids::Authority;

impl Parameters {
    /// What an authority's phones need to know beside the entries.
    #[must_use]
    pub fn new(authority: Authority, mechanism: Mechanism, threshold: Threshold) -> Self {
        Self { authority, mechanism: mechanism.number, threshold }
    }
}
