//! The parts of the `gateway` command that do not run the gateway.

pub(crate) mod store;
