//! Commands beside `run` and `check`.

pub(crate) mod case_code;
