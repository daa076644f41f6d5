//! Federations from end to end. Read `life_of_a_token` first.

#![allow(clippy::unwrap_used, clippy::panic)]

mod certificates;
mod demo;
mod doors;
mod durability;
mod health;
mod invariants;
mod life_of_a_token;
mod privacy;
mod recovery;
mod refusals;
