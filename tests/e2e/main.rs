//! Federations from end to end. Read `life_of_a_token` first, then `four_phases`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod certificates;
mod demo;
mod doors;
mod durability;
mod four_phases;
mod health;
mod invariants;
mod life_of_a_token;
mod many_contacts;
mod national_system;
mod privacy;
mod privacy_knowledge;
mod recovery;
mod refusals;
mod stores;
mod story;
