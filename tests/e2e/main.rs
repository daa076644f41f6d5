//! Federations from end to end. Read `life_of_a_token` first, then `four_phases`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod attacks;
mod bench;
mod callers;
mod certificates;
mod demo;
mod diagnosis_keys;
mod doors;
mod durability;
mod false_origin;
mod faults;
mod four_phases;
mod health;
mod hostile;
mod invariants;
mod life_of_a_token;
mod limits;
mod many_contacts;
mod national_system;
mod one_country;
mod parsers;
mod privacy;
mod privacy_knowledge;
mod recovery;
mod refusals;
mod replicas;
mod sick_peers;
mod simulation;
mod soak;
mod stores;
mod story;
