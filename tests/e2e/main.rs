//! Federations from end to end. Read `life_of_a_token` first.

#![allow(clippy::unwrap_used, clippy::panic)]

mod doors;
mod invariants;
mod refusals;
