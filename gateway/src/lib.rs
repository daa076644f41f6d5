//! The door: one country's gateway.
//!
//! [`run`] is the table of contents. [`outbound`] is the way of our tokens out, [`inbound`] the way of our peers'
//! tokens in; neither knows the other, both keep what they have in a [`store`].

pub mod admit;
pub mod alert;
pub mod backlog;
pub mod backoff;
pub mod caller;
pub mod chains;
pub mod circuit;
pub mod config;
pub mod crowd;
pub mod damage;
pub mod descriptors;
pub mod elsewhere;
pub mod embedded;
pub mod expiry;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod health;
pub mod http;
pub mod inbound;
pub mod keylists;
mod labels;
pub mod lease;
pub mod listen;
pub mod names;
pub mod node;
pub mod outbound;
pub mod page;
pub mod panics;
pub mod peers;
pub mod places;
pub mod prepare;
pub mod quota;
pub mod recover;
pub mod retention;
pub mod room;
pub mod stage;
pub mod start;
mod state_files;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod witness;

pub use prepare::{Listeners, StartError};
pub use proto::clock;
pub use start::run;
