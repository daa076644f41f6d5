//! A tap on a line: passes octets on in both directions, and writes all of them into a file, as an eavesdropper would.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Octets that are passed on at once.
const PIECE: usize = 64 * 1_024;

/// A listener in front of another one. It ends when it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Tap {
    /// Listens at `at`, dials `to` for every connection, and writes what passes behind what stands in `record`.
    pub(crate) fn start(at: SocketAddr, to: SocketAddr, record: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(record);
        let file = Arc::new(Mutex::new(file.with_context(|| format!("cannot write {}", record.display()))?));
        let listener = std::net::TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(async move {
            // An error of accepting ends the tap, and whoever dials it sees that nobody answers.
            while let Ok((caller, from)) = listener.accept().await {
                tokio::spawn(both_ways((caller, from.ip()), to, file.clone()));
            }
        });
        Ok(Self { address: at, _task: AbortOnDropHandle::new(task) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn both_ways((caller, from): (TcpStream, IpAddr), to: SocketAddr, record: Arc<Mutex<File>>) {
    let Ok(called) = dial(from, to).await else { return };
    let ((from_caller, to_caller), (from_called, to_called)) = (caller.into_split(), called.into_split());
    tokio::join!(pass(from_caller, to_called, &record), pass(from_called, to_caller, &record));
}

/// Dials with the caller's own address: a server that counts by address is not misled.
pub(crate) async fn dial(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, record: &Mutex<File>) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let octets = &piece[..read];
        let written = record.lock().unwrap_or_else(PoisonError::into_inner).write_all(octets);
        if written.is_err() || to.write_all(octets).await.is_err() {
            break;
        }
    }
    // The other side learns that nothing more comes; that it has gone already is no matter.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_is_passed_on_and_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("line");
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = echo.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut caller, _) = echo.accept().await.unwrap();
            let (mut from, mut back) = caller.split();
            tokio::io::copy(&mut from, &mut back).await.unwrap();
        });
        let at = crate::ports::free(1).unwrap()[0];
        let tap = Tap::start(at, to, &record).unwrap();
        let mut line = TcpStream::connect(tap.address()).await.unwrap();
        line.write_all(b"to be heard").await.unwrap();
        line.shutdown().await.unwrap();
        let mut answer = Vec::new();
        line.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"to be heard");
        assert_eq!(std::fs::read(record).unwrap(), b"to be heardto be heard");
    }
}
