//! Commands beside `run` and `check`.

pub(crate) mod advice;
pub(crate) mod case_code;
pub(crate) mod keys;
pub(crate) mod quarantine;
