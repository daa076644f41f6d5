//! The keys: the only crate that touches a private key.
//!
//! [`seal`] closes what only one recipient may open, [`sign`] says who said it, [`trust`] says who is believed, and
//! [`tls`] says who is calling.

pub mod ca;
pub mod csr;
pub mod dial;
pub mod disk;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod identity;
pub mod keyfile;
pub mod keylist;
pub mod lint;
pub mod passphrase;
pub mod pubfile;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod tls;
pub mod trust;
