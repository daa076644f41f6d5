//! The hosts of one database, of which one serves: asked in turn, beginning with the one that served last.
//!
//! The driver passes a host that does not take a connection, and waits for ever for one that takes it and then says
//! nothing, as a machine does whose disk hangs. Of several addresses of one name such a one is not passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a host may take until the next one is asked, with what its addresses may.
const HOST: Duration = Duration::from_secs(5);

/// The half of a connection that somebody has to poll.
pub(super) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;
/// Both halves.
pub(super) type Connected = (Client, Connection);

/// All hosts of an address.
#[derive(Clone)]
pub(super) struct Hosts {
    configs: Arc<[Config]>,
    tls: MakeRustlsConnect,
    /// The one that served last.
    serves: Arc<AtomicUsize>,
}

impl Hosts {
    pub(super) fn of(config: &Config, tls: MakeRustlsConnect) -> Self {
        let configs = (0..config.get_hosts().len()).map(|host| alone(config, host)).collect();
        Self { configs, tls, serves: Arc::default() }
    }

    /// What those that do not answer may cost on the way to the one that serves.
    pub(super) fn detour(&self) -> Duration {
        let others = u32::try_from(self.configs.len().saturating_sub(1)).unwrap_or(u32::MAX);
        HOST.saturating_mul(others)
    }

    /// The first connection that stands. The last host is waited for as long as the caller likes.
    pub(super) async fn connect(&self) -> Result<Connected, Error> {
        let (count, first) = (self.configs.len(), self.serves.load(Ordering::Relaxed));
        for host in (first..first + count - 1).map(|host| host % count) {
            if let Ok(Ok(connected)) = tokio::time::timeout(HOST, self.connect_to(host)).await {
                return Ok(connected);
            }
        }
        self.connect_to((first + count - 1) % count).await
    }

    async fn connect_to(&self, host: usize) -> Result<Connected, Error> {
        let connected = self.configs[host].connect(self.tls.clone()).await?;
        self.serves.store(host, Ordering::Relaxed);
        Ok(connected)
    }
}

impl Connect for Hosts {
    fn connect(
        &self,
        _: &Config,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) = Self::connect(self).await?;
            // How it ends is told to whoever asks the client.
            Ok((client, tokio::spawn(async { drop(connection.await) })))
        })
    }
}

/// The same for one host, which the driver's type can only add.
fn alone(config: &Config, host: usize) -> Config {
    let mut alone = Config::new();
    match &config.get_hosts()[host] {
        Host::Tcp(name) => alone.host(name),
        Host::Unix(path) => alone.host_path(path),
    };
    // There is one for each host or none, as the address was checked for; and one port may stand for all.
    if let Some(address) = config.get_hostaddrs().get(host) {
        alone.hostaddr(*address);
    }
    if let Some(port) = config.get_ports().get(host).or(config.get_ports().first()) {
        alone.port(*port);
    }
    if let Some(user) = config.get_user() {
        alone.user(user);
    }
    if let Some(password) = config.get_password() {
        alone.password(password);
    }
    if let Some(database) = config.get_dbname() {
        alone.dbname(database);
    }
    if let Some(options) = config.get_options() {
        alone.options(options);
    }
    if let Some(name) = config.get_application_name() {
        alone.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        alone.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        alone.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        alone.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        alone.keepalives_retries(retries);
    }
    alone
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_has_all_that_is_set() {
        let rest = "d?options=-c%20a%3Db&application_name=n&sslmode=require&sslnegotiation=direct&connect_timeout=3\
            &tcp_user_timeout=4&keepalives=0&keepalives_idle=5&keepalives_interval=6&keepalives_retries=7\
            &target_session_attrs=read-write&channel_binding=require&load_balance_hosts=random";
        let config = |hosts: &str, addresses: &str| -> Config {
            format!("postgres://u:p@{hosts}/{rest}&hostaddr={addresses}").parse().unwrap()
        };
        let both = config("one:1,two:2", "127.0.0.1,127.0.0.2");
        assert_eq!(alone(&both, 0), config("one:1", "127.0.0.1"));
        assert_eq!(alone(&both, 1), config("two:2", "127.0.0.2"));
        let path: Config = "host=/one,/two user=u port=7".parse().unwrap();
        assert_eq!(alone(&path, 1), "host=/two user=u port=7".parse().unwrap());
    }
}
