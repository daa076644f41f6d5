//! Backends that come with the adapter.

pub mod folder;
pub mod webhook;
