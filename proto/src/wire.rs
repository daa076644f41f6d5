//! The generated messages and services. Used here and in the thin call shells only; everything else takes parsed types.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::too_many_lines,
    clippy::unwrap_used
)]

tonic::include_proto!("exchange.v1");
