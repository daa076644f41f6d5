//! The door: one country's gateway.
//!
//! [`run`] is the table of contents. [`outbound`] is the way of our tokens out, [`inbound`] the way of our peers'
//! tokens in; neither knows the other, both keep what they have in a [`store`].

pub mod backlog;
pub mod backoff;
pub mod caller;
pub mod chains;
pub mod clock;
pub mod config;
pub mod damage;
pub mod embedded;
#[cfg(test)]
mod fixture;
pub mod health;
pub mod http;
pub mod inbound;
pub mod keylists;
pub mod listen;
pub mod names;
pub mod node;
pub mod outbound;
pub mod page;
pub mod peers;
pub mod places;
pub mod prepare;
pub mod quota;
pub mod recover;
pub mod retention;
pub mod stage;
pub mod start;
pub mod status;
pub mod store;
pub mod telemetry;

pub use prepare::{Listeners, StartError};
pub use start::run;
