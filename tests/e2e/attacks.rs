//! A gateway in a process of its own, and what an attacker's client can say to it that no library would.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::tls::{self, NodeCertificate, Role};
use proto::ids::CountryCode;
use proto::verdict::Verdict;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::doors::{Door, Doors, PATIENCE, free_port};

/// A good call takes milliseconds; on a busy machine, and in a debug build, much less than this.
const SOON: Duration = Duration::from_secs(10);
/// The most memory that a gateway may ever have held, whatever it was sent: 300 MiB.
const MEMORY: u64 = 300 << 20;

/// The United Kingdom's gateway as a real process, France's in this one.
pub(crate) struct Victim {
    pub(crate) doors: Doors,
    process: Child,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Victim {
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// With a configuration of its own.
    pub(crate) async fn start_with(edit: impl FnOnce(String) -> String) -> Self {
        let mut doors = Doors::closed(&["826/0", "826/1", "250/0"]);
        let (national, admin) = (free_port(), free_port());
        let config = doors.config(826);
        let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{national}"), 1);
        let config = edit(config.replacen("127.0.0.1:0", &format!("127.0.0.1:{admin}"), 1));
        let path = doors.path(826).join("gateway.toml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(doors.path(826).join("log")).unwrap();
        let gateway = harness::binaries::Binaries::find().unwrap().gateway;
        let mut command = Command::new(gateway);
        command.arg("run").arg(path).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        let door = Door::elsewhere(doors.port(826), national, admin);
        doors.adopt(826, door).await;
        doors.start(250).await;
        doors.publish_keys().await;
        Self { doors, process }
    }

    /// Somebody new connects and pushes, and is answered soon.
    pub(crate) async fn serves(&self) {
        let (served, asked) = (async { self.doors.push("826/1", &[("250/0", 1)]).await }, Instant::now());
        let verdicts = timeout(SOON, served).await.expect("a good call is answered soon");
        assert_eq!(verdicts, [Verdict::Accepted], "after {:?}", asked.elapsed());
    }

    /// The same while an attack goes on, again and again until it is over.
    pub(crate) async fn serves_during<T>(&self, attack: impl Future<Output = T>) -> T {
        tokio::pin!(attack);
        loop {
            tokio::select! {
                biased;
                done = &mut attack => return done,
                () = self.serves() => {}
            }
        }
    }

    /// Memory stayed within bounds, the process lives, and somebody new is served.
    pub(crate) async fn is_well(&self) {
        self.serves().await;
        let peak = harness::process::peak_rss(self.process.id()).unwrap();
        assert!(peak < MEMORY, "it has held {} MiB", peak >> 20);
        let metrics = self.doors.metrics(826).await;
        assert!(metrics.contains("exchange_panics_total 0"), "{metrics}");
    }

    /// Waits until the metrics contain this.
    pub(crate) async fn counts(&self, what: &str) {
        self.doors.shows(826, what).await;
    }

    /// The most memory that it has held so far, octets.
    pub(crate) fn peak(&self) -> u64 {
        harness::process::peak_rss(self.process.id()).unwrap()
    }

    pub(crate) fn peers(&self) -> SocketAddr {
        self.doors.door(826).peers
    }

    /// A line with the certificate of France's gateway.
    pub(crate) async fn french(&self) -> Raw {
        self.try_french().await.expect("a good certificate is let in")
    }

    /// The same, if there is still room for France.
    pub(crate) async fn try_french(&self) -> std::io::Result<Raw> {
        self.raw(&self.doors.certificate(250, Role::Gateway), self.peers()).await
    }

    /// A line with a certificate.
    pub(crate) async fn raw(&self, certificate: &NodeCertificate, to: SocketAddr) -> std::io::Result<Raw> {
        let trust = self.doors.trust();
        let british = trust.country(CountryCode::new(826).unwrap()).unwrap();
        let config = tls::client_config(certificate, british).unwrap();
        Raw::connect(config, TcpStream::connect(to).await?).await
    }
}

/// A TCP connection from one of 65,000 addresses of this machine.
pub(crate) async fn tcp_from(host: u16, to: SocketAddr) -> std::io::Result<TcpStream> {
    let [high, low] = host.to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
    socket.connect(to).await
}

/// Kinds and flags of HTTP/2 frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One HTTP/2 frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field in HPACK, without index and Huffman code (RFC 7541, section 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    assert!(name.len() < 127 && value.len() < 127);
    [vec![0], text(name), text(value)].concat()
}

/// The headers of a gRPC call.
pub(crate) fn call(path: &str) -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "https"),
        field(":authority", "gateway"),
        field(":path", path),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ]
    .concat()
}

/// An HTTP/2 connection whose every octet is said by hand.
pub(crate) struct Raw {
    stream: TlsStream<TcpStream>,
}

impl Raw {
    /// Shakes hands and opens HTTP/2 with settings of our own.
    async fn connect(config: ClientConfig, tcp: TcpStream) -> std::io::Result<Self> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        // The answers that we do not read must have no room.
        let no_window = [[0, 4].as_slice(), &0_u32.to_be_bytes()].concat();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &no_window)).await?;
        stream.flush().await?;
        Ok(Self { stream })
    }

    /// Says octets; an error means that the gateway has hung up.
    pub(crate) async fn say(&mut self, octets: &[u8]) -> std::io::Result<()> {
        timeout(PATIENCE, async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        })
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// Reads until the gateway says that it wants no more of this connection, or hangs up.
    pub(crate) async fn is_hung_up(&mut self) {
        let ended = async { while self.frame().await.is_some_and(|(kind, _)| kind != GOAWAY) {} };
        timeout(PATIENCE, ended).await.expect("the gateway ends the connection");
    }

    /// Reads until a call is answered or cancelled, or the whole connection ends.
    pub(crate) async fn is_answered(&mut self, stream: u32) {
        let answered = async {
            while let Some((kind, of)) = self.frame().await {
                if kind == GOAWAY || (of == stream && [HEADERS, RST_STREAM].contains(&kind)) {
                    return;
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("the gateway answers");
    }

    /// Reads the answer to a call: the kind of its first frame, headers or a cancellation, and what is in it.
    pub(crate) async fn answer(&mut self, stream: u32) -> (u8, Vec<u8>) {
        let answered = async {
            loop {
                let (kind, of, payload) = self.whole_frame().await.expect("the connection stays open");
                if of == stream && [HEADERS, RST_STREAM].contains(&kind) {
                    return (kind, payload);
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("the gateway answers")
    }

    /// Whether a ping that was said is answered, and the connection not ended in its place.
    pub(crate) async fn is_there(&mut self) -> bool {
        const ANSWER: u8 = 1;
        let answered = async {
            loop {
                let mut head = [0; 9];
                if self.stream.read_exact(&mut head).await.is_err() {
                    return false;
                }
                let [a, b, c, kind, flags, ..] = head;
                let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
                if self.stream.read_exact(&mut payload).await.is_err() || kind == GOAWAY {
                    return false;
                }
                if kind == PING && flags & ANSWER == ANSWER {
                    return true;
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("the gateway answers a ping, or ends the connection")
    }

    /// Kind and stream of the next frame; nothing if there is none any more.
    async fn frame(&mut self) -> Option<(u8, u32)> {
        self.whole_frame().await.map(|(kind, stream, _)| (kind, stream))
    }

    /// The next frame with what is in it.
    async fn whole_frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((kind, u32::from_be_bytes(stream), payload))
    }
}
