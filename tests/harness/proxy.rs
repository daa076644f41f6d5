//! Stands in a line and makes trouble: cuts it, delays, lets one octet a second through, closes half of it, says
//! nothing, or spoils what passes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::balancer;

/// Octets that are passed on at once.
const PIECE: usize = 64 * 1_024;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Open connections end, and new ones end at once.
    Cut,
    /// Each piece comes so much later.
    Delay(Duration),
    /// One octet a second, in each direction.
    Drip,
    /// The side that called hears that nothing more comes, and may still speak.
    HalfClosed,
    /// Connections are accepted and stay open, and nothing passes.
    Silence,
    /// An octet of each piece is another one.
    Garbage,
}

/// A listener in front of another one. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    trouble: watch::Sender<Trouble>,
    struck: Arc<AtomicUsize>,
    passed: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

/// What a connection follows.
#[derive(Clone)]
struct Line {
    trouble: watch::Receiver<Trouble>,
    struck: Arc<AtomicUsize>,
    passed: Arc<AtomicU64>,
}

/// Which way octets go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Proxy {
    /// Listens at `at`; a connection goes to the next of `backends` that takes it.
    pub(crate) fn start(at: SocketAddr, backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = std::net::TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (trouble, receiver) = watch::channel(Trouble::None);
        let struck = Arc::new(AtomicUsize::new(0));
        let passed = Arc::new(AtomicU64::new(0));
        let line = Line { trouble: receiver, struck: struck.clone(), passed: passed.clone() };
        let (backends, mut turn): (Arc<[SocketAddr]>, usize) = (backends.into(), 0);
        let task = tokio::spawn(async move {
            // An error of accepting ends the proxy, and whoever dials it sees that nobody answers.
            while let Ok((caller, from)) = listener.accept().await {
                turn += 1;
                tokio::spawn(line.clone().connection((caller, from.ip()), backends.clone(), turn));
            }
        });
        Ok(Self { trouble, struck, passed, _task: AbortOnDropHandle::new(task) })
    }

    /// How often the trouble has struck so far.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.struck.load(Ordering::Relaxed)
    }

    /// Octets that have come so far, from both sides.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Begins a trouble, or ends it. Gives how often the one before struck a connection or a piece of what passed.
    pub fn make(&self, trouble: Trouble) -> usize {
        self.trouble.send_replace(trouble);
        self.struck.swap(0, Ordering::Relaxed)
    }
}

impl Line {
    async fn connection(
        mut self,
        (caller, from): (TcpStream, IpAddr),
        backends: Arc<[SocketAddr]>,
        turn: usize,
    ) {
        // Whoever calls into the silence is called back when it ends.
        if !self.outlasts(Trouble::Silence).await || *self.trouble.borrow() == Trouble::Cut {
            self.strike();
            return;
        }
        let Some(called) = balancer::dial(from, &backends, turn).await else { return };
        let ((from_caller, to_caller), (from_called, to_called)) = (caller.into_split(), called.into_split());
        let (there, back) = (self.clone(), self.clone());
        tokio::select! {
            _ = async {
                tokio::join!(
                    there.pass(from_caller, to_called, Way::There),
                    back.pass(from_called, to_caller, Way::Back)
                )
            } => {}
            true = self.begins(Trouble::Cut) => self.strike(),
        }
    }

    async fn pass(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way) {
        let (mut piece, mut line) = (vec![0; PIECE], self.clone());
        loop {
            let read = tokio::select! {
                read = from.read(&mut piece) => read,
                true = line.begins(Trouble::HalfClosed), if way == Way::Back => {
                    self.strike();
                    break;
                }
            };
            let Ok(octets @ 1..) = read else { break };
            self.passed.fetch_add(octets as u64, Ordering::Relaxed);
            if self.forward(&mut piece[..octets], &mut to).await.is_err() {
                break;
            }
        }
        // The other side learns that nothing more comes; that it has gone already is no matter.
        let _ = to.shutdown().await;
    }

    async fn forward(&mut self, piece: &mut [u8], to: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let trouble = *self.trouble.borrow();
        if !matches!(trouble, Trouble::None | Trouble::HalfClosed) {
            self.strike();
        }
        match trouble {
            Trouble::None | Trouble::HalfClosed | Trouble::Cut => {}
            Trouble::Delay(time) => tokio::time::sleep(time).await,
            Trouble::Drip => return self.drip(piece, to).await,
            Trouble::Silence => drop(self.outlasts(Trouble::Silence).await),
            Trouble::Garbage => {
                let at = rand::rng().random_range(0..piece.len());
                piece[at] ^= rand::rng().random_range(1..=u8::MAX);
            }
        }
        to.write_all(piece).await
    }

    async fn drip(&mut self, piece: &[u8], to: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let mut rest = piece;
        while let [octet, behind @ ..] = rest
            && *self.trouble.borrow() == Trouble::Drip
        {
            to.write_all(&[*octet]).await?;
            rest = behind;
            let _ended = tokio::time::timeout(Duration::from_secs(1), self.outlasts(Trouble::Drip)).await;
        }
        to.write_all(rest).await
    }

    /// Waits until there is no such trouble; false if the proxy ended meanwhile.
    async fn outlasts(&mut self, trouble: Trouble) -> bool {
        self.trouble.wait_for(|now| *now != trouble).await.is_ok()
    }

    /// Waits until there is such a trouble; false if the proxy ended meanwhile.
    async fn begins(&mut self, trouble: Trouble) -> bool {
        self.trouble.wait_for(|now| *now == trouble).await.is_ok()
    }

    fn strike(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy in front of something that gives back what it gets, and a connection through it.
    async fn echo() -> (Proxy, TcpStream, SocketAddr) {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = echo.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut back) = caller.split();
                    tokio::io::copy(&mut from, &mut back).await
                });
            }
        });
        let at = crate::ports::free(1).unwrap()[0];
        let proxy = Proxy::start(at, vec![to]).unwrap();
        let mut line = TcpStream::connect(at).await.unwrap();
        assert_eq!(said(&mut line, b"1234").await.unwrap(), b"1234", "nothing is wrong yet");
        assert_eq!(proxy.passed(), 8, "there and back");
        (proxy, line, at)
    }

    async fn said(line: &mut TcpStream, words: &[u8]) -> std::io::Result<Vec<u8>> {
        line.write_all(words).await?;
        let mut answer = vec![0; words.len()];
        line.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_new_ones() {
        let (proxy, mut line, at) = echo().await;
        proxy.make(Trouble::Cut);
        assert!(said(&mut line, b"1234").await.is_err());
        assert!(said(&mut TcpStream::connect(at).await.unwrap(), b"1234").await.is_err());
        assert!(proxy.make(Trouble::None) >= 2);
        assert!(said(&mut TcpStream::connect(at).await.unwrap(), b"1234").await.is_ok());
    }

    #[tokio::test]
    async fn silence_ends_with_what_was_said_meanwhile() {
        let (proxy, mut line, at) = echo().await;
        proxy.make(Trouble::Silence);
        let mut new = TcpStream::connect(at).await.unwrap();
        line.write_all(b"1234").await.unwrap();
        new.write_all(b"5678").await.unwrap();
        let mut answer = [0; 4];
        let nothing = tokio::time::timeout(Duration::from_millis(100), line.read(&mut answer)).await;
        assert!(nothing.is_err());
        proxy.make(Trouble::None);
        line.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"1234");
        new.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"5678");
    }

    #[tokio::test]
    async fn half_a_connection_is_closed() {
        let (proxy, mut line, _) = echo().await;
        proxy.make(Trouble::HalfClosed);
        assert_eq!(line.read(&mut [0; 4]).await.unwrap(), 0, "nothing more comes");
        line.write_all(b"still heard").await.unwrap();
        assert_eq!(proxy.make(Trouble::None), 1);
    }

    #[tokio::test]
    async fn garbage_is_not_what_was_said() {
        let (proxy, mut line, _) = echo().await;
        proxy.make(Trouble::Garbage);
        // Spoilt twice, there and back: a spoilt octet could be mended by chance, and not in ten rounds.
        let mut spoilt = 0;
        for _ in 0..10 {
            spoilt += usize::from(said(&mut line, b"1234").await.unwrap() != b"1234");
        }
        assert!(spoilt > 0 && proxy.make(Trouble::None) >= 20);
    }

    #[tokio::test]
    async fn a_dripping_line_gives_an_octet_at_a_time_until_it_is_mended() {
        let (proxy, mut line, _) = echo().await;
        proxy.make(Trouble::Drip);
        line.write_all(b"1234").await.unwrap();
        let mut first = [0; 4];
        assert_eq!(line.read(&mut first).await.unwrap(), 1);
        proxy.make(Trouble::None);
        line.read_exact(&mut first[1..]).await.unwrap();
        assert_eq!(&first, b"1234");
    }
}
