//! A plain TCP balancer, as stands in front of a country's replicas: it knows nothing of what passes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::tap;

/// A listener in front of several others, each in its turn. It ends when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    _task: AbortOnDropHandle<()>,
}

impl Balancer {
    /// Listens at `at`; a connection goes to the next of `backends` that takes it.
    pub(crate) fn start(at: SocketAddr, backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = std::net::TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (backends, turn): (Arc<[SocketAddr]>, _) = (backends.into(), AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            // An error of accepting ends the balancer, and whoever dials it sees that nobody answers.
            while let Ok((caller, from)) = listener.accept().await {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection((caller, from.ip()), backends.clone(), turn));
            }
        });
        Ok(Self { _task: AbortOnDropHandle::new(task) })
    }
}

async fn connection((mut caller, from): (TcpStream, IpAddr), backends: Arc<[SocketAddr]>, turn: usize) {
    if let Some(mut called) = dial(from, &backends, turn).await {
        // Either side may go at any time.
        let _ = copy_bidirectional(&mut caller, &mut called).await;
    }
}

/// A connection to one of them, the next in turn first. One that is dead is passed over.
pub(crate) async fn dial(from: IpAddr, backends: &[SocketAddr], turn: usize) -> Option<TcpStream> {
    for n in 0..backends.len() {
        if let Ok(called) = tap::dial(from, backends[(turn + n) % backends.len()]).await {
            return Some(called);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn connections_go_round_and_pass_over_who_is_dead() {
        let (one, two) = (server(b"1").await, server(b"2").await);
        let ports = crate::ports::free(2).unwrap();
        let _balancer = Balancer::start(ports[0], vec![one, ports[1], two]).unwrap();
        let mut heard = String::new();
        for _ in 0..4 {
            let mut line = TcpStream::connect(ports[0]).await.unwrap();
            line.read_to_string(&mut heard).await.unwrap();
        }
        assert_eq!(heard, "1221");
    }

    async fn server(says: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                tokio::io::AsyncWriteExt::write_all(&mut caller, says).await.unwrap();
            }
        });
        address
    }
}
