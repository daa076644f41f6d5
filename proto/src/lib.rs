//! The contract: what crosses a border, and the types it is parsed into. No I/O, no keys.
//!
//! Read [`header`] first: the five octets that every country can read are what makes the exchange possible.

pub mod batch;
pub mod body;
pub mod clock;
mod codec;
pub mod course;
pub mod day;
pub mod extended;
pub mod header;
pub mod ids;
pub mod iso3166;
pub mod leap;
pub mod limits;
pub mod malformed;
pub mod octets;
pub mod push;
pub mod registry;
pub mod report;
pub mod verdict;
pub mod wiped;
pub mod wire;
