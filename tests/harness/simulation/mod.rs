//! Whole federations under random operations, and an oracle that looks at them from outside.
//!
//! `operations` says what can happen and `draw` draws it from a seed; `world` does it to real gateways, stores and
//! adapters, with `traffic`, `troubles` and, to show that the oracle sees, `sabotage`; `audit` looks at every store after every step and keeps the
//! `ledger`; `settle` lets everything come to its end, and `oracle` says whether it is as it must be. What fails
//! is made short by `shrink`. `soak` does all this for hours.

mod audit;
mod charter;
mod desk;
mod door;
mod draw;
mod effect;
mod failure;
mod fuse;
mod ledger;
mod letters;
mod liar;
mod line;
mod link;
mod logs;
mod operations;
mod oracle;
mod run;
mod sabotage;
mod settle;
mod shrink;
mod small_disk;
pub mod soak;
mod stores;
mod traffic;
mod troubles;
mod world;

pub use failure::{Failure, Kind};
pub use line::{Direction, Fault, Lie, Line, Place};
pub use operations::{COUNTRIES, Load, Moment, Operation, Plan};
pub use oracle::Account;
pub use run::{Finding, Outcome, Simulation};
pub use stores::StoreKind;
