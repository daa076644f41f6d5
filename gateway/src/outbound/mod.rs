//! Our tokens on their way out, in the order they go: ingest, route, reseal, outbox, serve.

pub mod ingest;
pub mod outbox;
pub mod receipts;
pub mod reseal;
pub mod route;
pub mod serve;
