//! Free ports on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// Below the ports that systems give to outgoing connections. A port above could be taken by somebody's call while
/// the process that should listen on it restarts.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// How many of them are tried before the system is asked for any port.
const TRIES: usize = 50;

/// Finds as many different ports as are asked for. They are free now; whoever binds them next may come too late.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>> {
    // All are held until the last is found, so that none is found twice.
    let held = (0..count).map(|_| bind()).collect::<Result<Vec<_>>>()?;
    held.iter().map(|listener| listener.local_addr().context("a bound port has no address")).collect()
}

fn bind() -> Result<TcpListener> {
    for _ in 0..TRIES {
        let port = RANGE.start + random()? % (RANGE.end - RANGE.start);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free on loopback")
}

fn random() -> Result<u16> {
    let mut octets = [0; 2];
    getrandom::fill(&mut octets).context("the system has no random numbers")?;
    Ok(u16::from_be_bytes(octets))
}
