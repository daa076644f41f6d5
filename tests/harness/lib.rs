//! Whole federations on one machine: real processes, real TLS, real stores, in a temporary folder.
//!
//! [`Federation`] is the way in: it makes every key, certificate and list by running the `pki` command as an operator
//! types it, starts each country's gateway and adapters, and ends what it started. [`demo`], [`story`] and
//! [`faults`] are what the `federation` command shows; the end-to-end tests drive the same handles.

pub mod admin;
pub mod attackers;
pub mod backend;
pub mod balancer;
pub mod bench;
pub mod binaries;
pub mod builder;
pub mod citizens;
mod configs;
mod cpu;
pub mod demo;
pub mod desk;
pub mod direct;
pub mod faults;
pub mod federation;
pub mod flood;
mod https;
pub mod keys;
pub mod knowledge;
pub mod leaks;
pub mod members;
pub mod national;
mod operator;
pub mod phone;
pub mod phones;
pub mod place;
mod ports;
pub mod process;
pub mod proxy;
pub mod reports;
mod setup;
pub mod simulation;
pub mod story;
pub mod tap;
pub mod turn;
pub mod wait;

pub use builder::Builder;
pub use federation::Federation;
pub use members::{Node, authority};
