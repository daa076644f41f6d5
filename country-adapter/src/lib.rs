//! The country adapter: the process beside one health authority's backend, and the only holder of its private keys.
//!
//! Two ways through it: `publish` takes the backend's reports to the own country's gateway, `receive` takes what other
//! countries sent for this authority to the backend. `backend` says what a backend must do; `backends` has some.

pub mod admin;
pub mod backend;
pub mod backends;
pub mod config;
pub mod counters;
pub mod diagnosis;
pub mod durable;
pub mod gateway;
pub mod herald;
pub mod intake;
pub mod keys;
pub mod lists;
pub mod outage;
pub mod panics;
pub mod phones;
pub mod publish;
pub mod receive;
pub mod risk;
pub mod samples;
pub mod second_degree;
pub mod service_keys;
pub mod steady;
pub mod work;

mod adapter;
mod blocking;
mod check;

#[cfg(test)]
mod testing;

use tokio_util::sync::CancellationToken;

pub use adapter::{Adapter, EndedEarly, OpenError, connect};
pub use backend::Backend;
pub use check::{problems, trust_list};
pub use config::{Config, ConfigFile};
pub use proto::clock::{self, Clock};

/// Why an adapter did not start, or did not run until the stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It ended too soon.
    #[error(transparent)]
    EndedEarly(#[from] EndedEarly),
}

/// Opens what the configuration names and runs until the stop: publishing, receiving, the authority's own keys, and
/// the trust list. Outages of the gateway and of the backend are waited out.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let adapter = blocking::blocking(move || Adapter::open(config, Clock::default())).await?;
    Ok(adapter.run(stop).await?)
}
