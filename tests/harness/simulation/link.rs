//! A line between two parties: octets go through a relay that does to them what it is told.
//!
//! Below TLS every change of an octet breaks the connection; what a party with a true certificate could do is in
//! [`super::liar`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::liar::Liar;
use super::line::{Direction, Fault, Place};

/// How long a connection lives on after its octets were altered: whoever waits for the rest of a record would wait for
/// long.
const LINGER: Duration = Duration::from_millis(40);
/// Octets that are carried at once.
const CHUNK: usize = 16 * 1024;

/// One line, from where a caller dials to where somebody answers.
pub(super) struct Link {
    port: u16,
    state: Arc<Mutex<State>>,
    /// Rings when connections must not go on as they are.
    breaks: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    fault: Option<Fault>,
    liar: Option<Arc<Liar>>,
}

impl Link {
    /// A line that leads nowhere yet.
    pub(super) async fn open() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (state, (breaks, broken)) = (Arc::<Mutex<State>>::default(), watch::channel(0));
        tokio::spawn(serve(listener, state.clone(), broken));
        Ok(Self { port, state, breaks })
    }

    /// Where callers dial.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Who answers now, if anybody does.
    pub(super) fn leads_to(&self, target: Option<SocketAddr>) {
        self.alter(|state| state.target = target);
    }

    /// What is wrong from now on. A lie needs a liar.
    pub(super) fn set(&self, fault: Option<Fault>, liar: Option<Liar>) {
        self.alter(|state| (state.fault, state.liar) = (fault, liar.map(Arc::new)));
    }

    /// What is wrong now.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fault
    }

    fn alter(&self, alter: impl FnOnce(&mut State)) {
        alter(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.breaks.send_modify(|times| *times += 1);
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, broken: watch::Receiver<u64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut broken = broken.clone();
        broken.mark_unchanged();
        let now = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.target, state.fault, state.liar.clone())
        };
        tokio::spawn(async move {
            tokio::select! {
                () = carry(stream, now) => {}
                _ = broken.changed() => {}
            }
        });
    }
}

async fn carry(caller: TcpStream, now: (Option<SocketAddr>, Option<Fault>, Option<Arc<Liar>>)) {
    let (Some(target), fault, liar) = now else { return };
    match (fault, liar) {
        (Some(Fault::Cut), _) => {}
        (Some(Fault::Lie(_)), Some(liar)) => liar.answer(caller, target).await,
        (fault, _) => {
            let Ok(callee) = TcpStream::connect(target).await else { return };
            let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
            let ((from_caller, to_caller), (from_callee, to_callee)) =
                (caller.into_split(), callee.into_split());
            let asked = pump(from_caller, to_callee, Flow::new(fault, Direction::Asked));
            let answered = pump(from_callee, to_caller, Flow::new(fault, Direction::Answered));
            tokio::select! {
                _ = asked => {}
                _ = answered => {}
            }
        }
    }
}

/// What happens to the octets of one direction.
struct Flow {
    delay: Option<Duration>,
    alter: Option<(Alter, usize)>,
}

#[derive(Clone, Copy)]
enum Alter {
    Flip,
    Truncate,
    Repeat,
    Swap,
}

impl Flow {
    fn new(fault: Option<Fault>, direction: Direction) -> Self {
        let here = |alter: Alter, place: Place| {
            let alter = (place.direction == direction).then_some((alter, usize::from(place.after)));
            Self { delay: None, alter }
        };
        match fault {
            Some(Fault::Delay(milliseconds)) => {
                Self { delay: Some(Duration::from_millis(milliseconds.into())), alter: None }
            }
            Some(Fault::Flip(place)) => here(Alter::Flip, place),
            Some(Fault::Truncate(place)) => here(Alter::Truncate, place),
            Some(Fault::Repeat(place)) => here(Alter::Repeat, place),
            Some(Fault::Swap(place)) => here(Alter::Swap, place),
            Some(Fault::Cut | Fault::Lie(_)) | None => Self { delay: None, alter: None },
        }
    }
}

/// Carries octets until one side ends, or until they were altered.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    flow: Flow,
) -> std::io::Result<()> {
    let (mut buffer, mut carried) = (vec![0; CHUNK], 0);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        if let Some(delay) = flow.delay {
            tokio::time::sleep(delay).await;
        }
        let chunk = &mut buffer[..read];
        match flow.alter.filter(|(_, after)| *after < carried + read) {
            None => to.write_all(chunk).await?,
            Some((alter, after)) => {
                to.write_all(&altered(alter, chunk, after - carried)).await?;
                if matches!(alter, Alter::Truncate) {
                    return Ok(());
                }
                let _ = timeout(LINGER, tokio::io::copy(&mut from, &mut to)).await;
                return Ok(());
            }
        }
        carried += read;
    }
}

fn altered(alter: Alter, chunk: &mut [u8], at: usize) -> Vec<u8> {
    match alter {
        Alter::Flip => {
            chunk[at] ^= 0x40;
            chunk.to_vec()
        }
        Alter::Truncate => chunk[..at].to_vec(),
        Alter::Repeat => [&chunk[..], &chunk[at..]].concat(),
        Alter::Swap => [&chunk[at..], &chunk[..at]].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn carried(text: &[u8], fault: Fault, direction: Direction) -> Vec<u8> {
        let mut out = Vec::new();
        pump(text, &mut out, Flow::new(Some(fault), direction)).await.unwrap();
        out
    }

    #[tokio::test]
    async fn octets_are_altered_at_their_place_and_in_their_direction() {
        let place = Place { after: 2, direction: Direction::Asked };
        let asked = async |fault| carried(b"abcd", fault, Direction::Asked).await;
        assert_eq!(asked(Fault::Flip(place)).await, b"ab#d");
        assert_eq!(asked(Fault::Truncate(place)).await, b"ab");
        assert_eq!(asked(Fault::Repeat(place)).await, b"abcdcd");
        assert_eq!(asked(Fault::Swap(place)).await, b"cdab");
        assert_eq!(carried(b"abcd", Fault::Flip(place), Direction::Answered).await, b"abcd");
    }
}
