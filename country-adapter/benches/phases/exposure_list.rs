//! A list of a million entries is built and signed; a phone downloads an increment over TLS and finds itself.
//!
//! Each is measured in a process of its own, so that its memory is its own.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use country_adapter::Clock;
use country_adapter::durable::Disk;
use country_adapter::herald::secured::confirmation::{Given, GivenTokens};
use country_adapter::herald::secured::totp::{Step, TimeCode};
use country_adapter::herald::secured::{ConfirmationToken, Receipt};
use country_adapter::lists::reader::Reader;
use country_adapter::lists::{Entry, ListKind, Parameters, Places, Poster, queue};
use country_adapter::risk::{Mechanism, Subtotal, Threshold};
use pki::sign::SigningKey;
use proto::header::EnvelopeHeader;

use crate::timing::Watch;
use crate::{Figure, Limit};

/// Set in the child process, to the folder that it works in.
pub(crate) const CHILD: &str = "EXPOSURE_LIST_BENCH";
const MILLION: u32 = 1_000_000;
const TYPICAL: u32 = 3_500;
const GIVEN: u32 = 5_000;
/// Entries of one file of the queue.
const EACH: u32 = 5_000;
const STEP: Step = Step::new(1_994_400);

pub(crate) fn run() -> Vec<Figure> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    put_down(folder.path(), MILLION);
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program).env(CHILD, folder.path()).output().expect("the child starts");
    let text = String::from_utf8_lossy(&child.stdout);
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let (seconds, megabytes) = (numbers.next().unwrap_or(f64::MAX), numbers.next().unwrap_or(f64::MAX));
    let (typical, million) = (matched(TYPICAL), matched(MILLION));
    vec![
        Figure {
            name: "1,000,000 entries built and signed",
            value: seconds,
            unit: "s",
            limit: Some(Limit::AtMost(5.0)),
        },
        Figure {
            name: "memory meanwhile, peak",
            value: megabytes,
            unit: "MB",
            limit: Some(Limit::AtMost(300.0)),
        },
        Figure {
            name: "3,500 entries downloaded and matched",
            value: typical.core,
            unit: "ms",
            limit: Some(Limit::AtMost(100.0)),
        },
        Figure {
            name: "1,000,000 entries downloaded and matched",
            value: million.core,
            unit: "ms",
            limit: Some(Limit::AtMost(100.0)),
        },
        Figure {
            name: "the same by the clock on the wall, with the server's part",
            value: million.wall,
            unit: "ms",
            limit: Some(Limit::AtMost(100.0)),
        },
    ]
}

/// What the child does: posts what is in the queue, and prints seconds and megabytes.
pub(crate) fn child(folder: &Path) {
    let poster = poster(folder, &SigningKey::generate());
    let from = Instant::now();
    let posted = poster.post().expect("it posts");
    let seconds = from.elapsed().as_secs_f64();
    assert_eq!(posted.values().map(|(_, entries)| entries).sum::<usize>(), 1_000_000);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: f64 =
        peak.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(f64::MAX);
    println!("{seconds} {}", peak / 1_000.0);
}

fn poster(folder: &Path, key: &pki::secret::Secret<Vec<u8>>) -> Poster {
    let parameters =
        Parameters::new("826/0".parse().expect("an authority"), Mechanism::default(), Threshold::default());
    let places = Places { state: folder, public: None };
    let key = SigningKey::from_pkcs8(key).expect("it was just made");
    Poster::open(&places, (Disk::default(), Clock::default()), key, parameters).expect("it opens")
}

fn put_down(folder: &Path, entries: u32) {
    let queue = queue::folder(folder);
    fs::create_dir_all(&queue).expect("a folder");
    for first in (0..entries).step_by(usize::try_from(EACH).expect("some thousands")) {
        let octets: Vec<u8> = (first..entries.min(first + EACH))
            .flat_map(|number| queue::record(ListKind::Contacts, &entry(number)))
            .collect();
        fs::write(queue.join(format!("{first:08}{}", queue::ENDING)), octets).expect("a file");
    }
}

fn entry(number: u32) -> Entry {
    Entry::contact(
        &country_adapter::herald::secured::confirmation::Entry {
            confirmation: confirmation(number),
            code: TimeCode::new(number).expect("31 bits"),
            receipt: Receipt::new([9; 16]),
            day: STEP.day(),
        },
        Subtotal::new(60),
    )
}

fn confirmation(number: u32) -> ConfirmationToken {
    let mut octets = [5; 16];
    octets[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    octets[4..8].copy_from_slice(&number.to_be_bytes());
    ConfirmationToken::new(octets)
}

/// Milliseconds from the request to the last entry that a phone has looked at: of the phone's core, and on the wall.
#[derive(Clone, Copy)]
struct Took {
    core: f64,
    wall: f64,
}

/// The best of some.
fn matched(entries: u32) -> Took {
    let folder = tempfile::tempdir().expect("a temporary folder");
    put_down(folder.path(), entries);
    let secret = SigningKey::generate();
    let poster = poster(folder.path(), &secret);
    poster.post().expect("it posts");
    let answer = poster.store().since(ListKind::Contacts, 0).expect("it is there").read().expect("it reads");
    let (server, client) = tls();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                let (stream, _) = listener.accept().expect("a phone");
                stream.set_nodelay(true).expect("a connection");
                serve(stream, &server, &answer);
            }
        });
        let key = SigningKey::from_pkcs8(&secret).expect("it was just made");
        let best = (0..ROUNDS).map(|_| {
            let stream = TcpStream::connect(address).expect("the server");
            stream.set_nodelay(true).expect("a connection");
            download(stream, &client, answer.len(), &key)
        });
        best.fold(Took { core: f64::MAX, wall: f64::MAX }, |best, took| Took {
            core: best.core.min(took.core),
            wall: best.wall.min(took.wall),
        })
    })
}

const ROUNDS: usize = 5;

fn serve(stream: TcpStream, config: &Arc<rustls::ServerConfig>, answer: &[u8]) {
    let connection = rustls::ServerConnection::new(config.clone()).expect("a configuration");
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let mut asked = [0];
    stream.read_exact(&mut asked).expect("a request");
    stream.write_all(answer).and_then(|()| stream.flush()).expect("an answer");
}

fn download(stream: TcpStream, config: &Arc<rustls::ClientConfig>, length: usize, key: &SigningKey) -> Took {
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(config.clone(), name).expect("a configuration");
    let mut stream = rustls::StreamOwned::new(connection, Wide(BufReader::with_capacity(READ, stream)));
    stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    let to = EnvelopeHeader::new(0x20, "250/0".parse().expect("an authority")).expect("a header");
    let mut given = GivenTokens::default();
    for number in 0..GIVEN {
        let code = TimeCode::new(number).expect("31 bits");
        given.insert(confirmation(number), Given { step: STEP, code, to, receipt: Receipt::new([9; 16]) });
    }
    let mut reader = Reader::new(ListKind::Contacts, "826/0".parse().expect("an authority"), *key.public());
    let watch = Watch::start();
    stream.write_all(&[1]).and_then(|()| stream.flush()).expect("a request");
    let (mut found, mut left, mut increment) = (0, length, Vec::new());
    while left > 0 {
        let octets = next_increment(&mut stream, &mut increment);
        let visit = |increment: &country_adapter::lists::Checked<'_>| {
            let own = increment.entries().filter(|entry| given.has(&ConfirmationToken::new(entry.token())));
            let own: Vec<_> = own.filter_map(|entry| entry.as_contact()).collect();
            found += own.iter().filter(|(contact, _)| given.recognise(contact).is_some()).count();
        };
        reader.read(octets, visit).expect("it is signed");
        left -= octets.len();
    }
    let took = Took { core: watch.core() * 1_000.0, wall: watch.wall() * 1_000.0 };
    assert!(found >= 3_500, "{found} of this phone's contacts were found");
    took
}

/// The next increment behind its length, in a buffer that is used again for each.
fn next_increment<'a>(stream: &mut impl Read, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let end = length.len() + usize::try_from(u32::from_be_bytes(length)).expect("it fits into memory");
    if buffer.len() < end {
        buffer.resize(end, 0);
    }
    buffer[..length.len()].copy_from_slice(&length);
    stream.read_exact(&mut buffer[length.len()..end]).expect("an answer");
    &buffer[..end]
}

/// Octets that one call of the system may bring; rustls asks for 4 KiB at a time.
const READ: usize = 256 * 1024;

/// A connection that is read in wide pieces.
struct Wide(BufReader<TcpStream>);

impl Read for Wide {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        self.0.read(octets)
    }
}

impl Write for Wide {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.serialize_der().try_into().expect("a key"))
        .expect("they belong together");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
