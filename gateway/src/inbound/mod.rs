//! Peers' tokens on their way in, in the order they go: pull, verify, inbox, deliver.

pub mod acknowledge;
pub mod deliver;
pub mod evidence;
pub mod inbox;
pub mod keys;
pub mod progress;
pub mod pull;
pub mod refill;
pub mod verify;
