//! The way to the database: a bounded pool of connections, each set so that what it commits is on disk.

use std::{path::PathBuf, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use pki::disk;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio_postgres::{Row, config::TargetSessionAttrs, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    address::{Address, Encryption},
    failure::{Failure, Patience},
    hosts::{Connected, Hosts},
};
use crate::store::StoreError;

/// The oldest release that is good enough: 15.
const OLDEST_SERVER: i32 = 150_000;
/// How long a connection may take to stand, and a caller may wait for one.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an address of a host may be silent until its next one is tried.
const ADDRESS: Duration = Duration::from_secs(2);
/// After this much silence of the other machine a connection is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// What an answer may take beyond the time that the server gives a statement.
const GRACE: Duration = Duration::from_secs(2);
/// How long a read or a small write is tried again.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest password and the longest file of authorities, octets.
const PASSWORD: usize = 1_024;
const AUTHORITIES: usize = 1 << 20;

/// How the database is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Where it is.
    pub address: Address,
    /// PEM certificates of the authority that issued the server's certificate.
    pub ca: Option<PathBuf>,
    /// A file (mode 0600) with the user's password.
    pub password_file: Option<PathBuf>,
    /// Connections at most, besides the one that listens.
    pub connections: usize,
    /// How long a statement may take.
    pub statement: Duration,
    /// How often other replicas' news is asked for when the database tells none.
    pub poll: Duration,
}

/// A database that can be asked.
pub(super) struct Database {
    pool: Pool,
    hosts: Hosts,
    name: String,
    statement: Duration,
}

/// A connection of the pool.
pub(super) type Pooled = Object;

impl Database {
    /// Reads the files that the options name; connects when it is first asked.
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let config = config(options)?;
        let hosts = Hosts::of(&config, MakeRustlsConnect::new(tls(options)?));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config, hosts.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT + hosts.detour()))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|cause| StoreError::Unfit { why: cause.to_string() })?;
        let (name, statement) = (options.address.to_string(), options.statement);
        Ok(Self { pool, hosts, name, statement })
    }

    /// For people.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection of the pool.
    pub(super) async fn connection(&self) -> Result<Pooled, Failure> {
        Ok(self.pool.get().await?)
    }

    /// A connection that is not of the pool; somebody has to poll its second half.
    pub(super) async fn alone(&self) -> Result<Connected, Failure> {
        in_time(CONNECT + self.hosts.detour(), async { Ok(self.hosts.connect().await?) }).await
    }

    /// Waits for an answer not much longer than the server works on it. A connection that is late is not used again.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        in_time(self.statement + GRACE + self.hosts.detour(), work).await
    }

    /// Runs one statement that may be run twice, until it succeeds or patience ends.
    pub(super) async fn ask(
        &self,
        statement: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut patience = Patience::of(PATIENCE);
        loop {
            match self.within(self.once(statement, values)).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => patience.again(failure, &self.name).await?,
            }
        }
    }

    async fn once(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        let mut used = Used::new(self.connection().await?);
        let prepared = used.get().prepare_cached(statement).await?;
        let rows = used.get().query(&prepared, values).await?;
        used.give_back();
        Ok(rows)
    }

    /// Closes every connection; whoever asks later is told so.
    pub(super) fn close(&self) {
        self.pool.close();
    }

    /// Refuses a server that is too old, or that answers before what it keeps is on disk.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let statement = "SELECT current_setting('server_version_num')::int, current_setting('fsync'), \
             current_setting('full_page_writes'), current_setting('synchronous_commit'), \
             current_setting('data_checksums')";
        let rows = self.ask(statement, &[]).await?;
        let [row] = &rows[..] else { return Err(unfit("it does not tell its settings")) };
        let number: i32 = row.try_get(0).map_err(|_| unfit("it does not tell its version"))?;
        check_release(number)?;
        let is_on = |column: usize| row.try_get::<_, &str>(column).is_ok_and(|value| value == "on");
        for (column, setting) in [(1, "fsync"), (2, "full_page_writes"), (3, "synchronous_commit")] {
            if !is_on(column) {
                return Err(unfit(&format!(
                    "`{setting}` is not on, so a power cut would undo what it has answered; set it in postgresql.conf"
                )));
            }
        }
        if !is_on(4) {
            tracing::warn!(database = %self.name, "the database has no data checksums: a page that the disk has spoiled is not noticed (initdb --data-checksums)");
        }
        Ok(())
    }
}

/// A connection that goes back to the pool only if what it was asked for was answered.
pub(super) struct Used(Option<Pooled>);

impl Used {
    pub(super) fn new(connection: Pooled) -> Self {
        Self(Some(connection))
    }

    pub(super) fn get(&mut self) -> &mut Pooled {
        self.0.as_mut().expect("it is there until it is done")
    }

    /// It is free for the next one.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Used {
    // After an error, or when the caller no longer waits, nobody knows what the connection is still busy with.
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Failure::Away("it does not answer in time".into())))
}

/// Whether a server of this number (170,002 is 17.2) is good enough.
fn check_release(number: i32) -> Result<(), StoreError> {
    if number < OLDEST_SERVER {
        return Err(unfit(&format!("it is release {}; 15 or later is needed", number / 10_000)));
    }
    Ok(())
}

fn unfit(why: &str) -> StoreError {
    StoreError::Unfit { why: why.to_owned() }
}

fn config(options: &PostgresOptions) -> Result<tokio_postgres::Config, StoreError> {
    let mut config = options.address.config();
    if let Some(path) = &options.password_file {
        let secret = disk::read_secret(path, PASSWORD).map_err(|cause| unfit(&chain(&cause)))?;
        config.password(secret.expose().trim_ascii_end());
    }
    // Set as the connection begins: no statement ever runs without them.
    let milliseconds = options.statement.as_millis();
    config.options(format!(
        "-c search_path=exchange -c synchronous_commit=on -c default_transaction_isolation=read\\ committed \
         -c statement_timeout={milliseconds} -c lock_timeout={milliseconds} \
         -c idle_in_transaction_session_timeout={milliseconds}"
    ));
    if config.get_application_name().is_none() {
        config.application_name("exchange-gateway");
    }
    config
        .connect_timeout(ADDRESS)
        .tcp_user_timeout(SILENCE)
        .keepalives_idle(SILENCE)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok(config)
}

fn tls(options: &PostgresOptions) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.ca {
        let octets = disk::read(path, AUTHORITIES).map_err(|cause| unfit(&chain(&cause)))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&octets).flatten().collect();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(unfit(&format!(
                "{} holds no certificate; give the authority's as PEM",
                path.display()
            )));
        }
    } else if options.address.encryption() == Encryption::VerifyFull {
        return Err(unfit("`postgres.ca` is missing: nothing tells the right server from a wrong one"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|cause| unfit(&cause.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_15_is_the_oldest() {
        let refused = check_release(149_999).unwrap_err().to_string();
        assert!(refused.contains("it is release 14; 15 or later is needed"), "{refused}");
        assert!([150_000, 150_001, 170_002].iter().all(|number| check_release(*number).is_ok()));
    }
}
