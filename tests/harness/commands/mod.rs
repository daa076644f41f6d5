//! What each command of `federation` takes, and what it prints.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod faults;
pub(crate) mod flood;
pub(crate) mod growth;
pub(crate) mod soak;
pub(crate) mod story;

/// How a command ends that has found a fault, or that broke off.
pub(crate) const FAILED: u8 = 1;
