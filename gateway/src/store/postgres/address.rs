//! The address of a database, as it stands in the configuration.

use std::{fmt, net::IpAddr, str::FromStr};

use tokio_postgres::config::{Host, SslMode};

/// `postgres://user@host:port/database?sslmode=verify-full`: never with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    config: tokio_postgres::Config,
    encryption: Encryption,
}

/// Whether the line to the database is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS, by a certificate for the host that a given authority has issued.
    VerifyFull,
    /// None: within one machine.
    Disable,
}

/// What is wrong with an address. It never repeats the address: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin like one.
    #[error("is no address of a database; one is postgres://exchange@db.example:5432/exchange")]
    Scheme,
    /// The rest of it.
    #[error(
        "does not parse; postgres://USER@HOST:PORT/DATABASE, with ?host=/FOLDER&sslmode=disable for a Unix socket"
    )]
    Rest,
    /// A password in a configuration file is read by too many.
    #[error(
        "has a password in it; put it alone into a file of mode 0600 and name that as postgres.password_file"
    )]
    Password,
    /// Another mode than we know.
    #[error("has an sslmode that protects nothing; verify-full, or disable within one machine")]
    Sslmode,
    /// Unencrypted to another machine.
    #[error(
        "has sslmode=disable and a host that may be another machine; only a loopback address or a Unix socket has"
    )]
    Exposed,
    /// What belongs to a host stands for each of them.
    #[error("has another number of hosts than of ports or of values in hostaddr; each host has one")]
    Counts,
    /// Who and where has to be said.
    #[error("names no user, host or database")]
    Incomplete,
}

impl Address {
    /// Whether `text` is meant to be one.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        ["postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// Whether the line is encrypted.
    #[must_use]
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// What the driver needs to know of it.
    pub(super) fn config(&self) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        config.ssl_mode(match self.encryption {
            Encryption::VerifyFull => SslMode::Require,
            Encryption::Disable => SslMode::Disable,
        });
        config
    }
}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(Malformed::Scheme);
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let (modes, others): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("sslmode="));
        // The driver knows no verify-full: it leaves checking the name to whoever makes the TLS.
        let encryption = match modes[..] {
            [] | ["sslmode=verify-full"] => Encryption::VerifyFull,
            ["sslmode=disable"] => Encryption::Disable,
            _ => return Err(Malformed::Sslmode),
        };
        let config: tokio_postgres::Config =
            format!("{base}?{}", others.join("&")).parse().map_err(|_| Malformed::Rest)?;
        if config.get_password().is_some() {
            return Err(Malformed::Password);
        }
        if config.get_user().is_none_or(str::is_empty)
            || config.get_dbname().is_none_or(str::is_empty)
            || config.get_hosts().is_empty()
        {
            return Err(Malformed::Incomplete);
        }
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let fits = |count: usize, one_for_all| [0, one_for_all, hosts.len()].contains(&count);
        if !fits(addresses.len(), 0) || !fits(config.get_ports().len(), 1) {
            return Err(Malformed::Counts);
        }
        let all_here = hosts.iter().all(is_here) && addresses.iter().all(IpAddr::is_loopback);
        if encryption == Encryption::Disable && !all_here {
            return Err(Malformed::Exposed);
        }
        Ok(Self { config, encryption })
    }
}

/// A name could lead anywhere, also `localhost`.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        Host::Unix(_) => true,
    }
}

/// For people: without the options.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        let hosts: Vec<String> = self.config.get_hosts().iter().map(named).collect();
        let database = self.config.get_dbname().unwrap_or_default();
        write!(f, "postgres://{user}@{}/{database}", hosts.join(","))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn named(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Malformed {
        text.parse::<Address>().unwrap_err()
    }

    #[test]
    fn tls_with_a_checked_name_is_what_an_address_means() {
        for text in [
            "postgres://exchange@db.example/exchange",
            "postgresql://exchange@db.example:5433/exchange?sslmode=verify-full",
            "postgres://exchange@one.example,two.example/exchange",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.encryption(), Encryption::VerifyFull, "{text}");
            assert_eq!(address.config().get_ssl_mode(), SslMode::Require, "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_reached_without_tls() {
        for text in [
            "postgres://exchange@127.0.0.1/exchange?sslmode=disable",
            "postgres://exchange@[::1]/exchange?sslmode=disable",
            "postgres://exchange@/exchange?host=/run/postgresql&sslmode=disable",
            "postgres://exchange@%2Frun%2Fpostgresql/exchange?sslmode=disable",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.config().get_ssl_mode(), SslMode::Disable, "{text}");
        }
        for host in ["db.example", "localhost", "10.0.0.1", "127.0.0.1,10.0.0.1"] {
            let text = format!("postgres://exchange@{host}/exchange?sslmode=disable");
            assert_eq!(refused(&text), Malformed::Exposed, "{text}");
        }
        let elsewhere = "postgres://exchange@127.0.0.1/exchange?sslmode=disable&hostaddr=10.0.0.1";
        assert_eq!(refused(elsewhere), Malformed::Exposed);
        for mode in ["prefer", "require", "verify-ca", "", "disable&sslmode=verify-full"] {
            let text = format!("postgres://exchange@127.0.0.1/exchange?sslmode={mode}");
            assert_eq!(refused(&text), Malformed::Sslmode, "{text}");
        }
    }

    #[test]
    fn each_host_has_its_port_and_address_or_none_has() {
        for more in ["hostaddr=10.0.0.1", "hostaddr=10.0.0.1,10.0.0.2,10.0.0.3", "port=1,2,3"] {
            let text = format!("postgres://exchange@one.example,two.example/exchange?{more}");
            assert_eq!(refused(&text), Malformed::Counts, "{text}");
        }
        for good in ["one.example,two.example", "one.example:1,two.example", "one.example:1,two.example:2"] {
            format!("postgres://exchange@{good}/exchange").parse::<Address>().unwrap();
        }
    }

    #[test]
    fn a_password_is_refused_and_never_shown() {
        for text in [
            "postgres://exchange:secret@db.example/exchange",
            "postgres://exchange@db.example/exchange?password=secret",
        ] {
            let refused = refused(text);
            assert_eq!(refused, Malformed::Password);
            assert!(!refused.to_string().contains("secret"));
        }
        let address: Address =
            "postgres://exchange@db.example:5433/gateway?application_name=x".parse().unwrap();
        assert_eq!(address.to_string(), "postgres://exchange@db.example/gateway");
    }

    #[test]
    fn who_where_and_what_has_to_be_said() {
        assert_eq!(refused("mysql://exchange@db.example/exchange"), Malformed::Scheme);
        assert_eq!(refused("postgres:exchange"), Malformed::Scheme);
        assert_eq!(refused("postgres://exchange@db.example:x/exchange"), Malformed::Rest);
        assert_eq!(refused("postgres://exchange@db.example/exchange?colour=blue"), Malformed::Rest);
        for text in
            ["postgres://db.example/exchange", "postgres://exchange@db.example", "postgres://exchange@/db"]
        {
            assert_eq!(refused(text), Malformed::Incomplete, "{text}");
        }
    }
}
