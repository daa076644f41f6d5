//! stub
pub mod herald;
