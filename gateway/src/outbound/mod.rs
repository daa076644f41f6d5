//! Our tokens on their way out, in the order they go: ingest, route, sort, gather, reseal, outbox, serve.

pub mod gather;
pub mod ingest;
pub mod outbox;
pub mod receipts;
pub mod reseal;
pub mod route;
pub mod serve;
pub mod sort;
