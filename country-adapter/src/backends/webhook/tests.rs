//! Whatever the national system does, each part has its effect once, in order.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::BackendConfig;

/// What the national system does with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Answers with a status, after it was done or not.
    Answer(u16),
    /// Takes it, and the answer gets lost.
    TakeAndHangUp,
    /// Takes it, and the answer breaks off.
    TakeAndBreakOff,
    /// Reads it, and says nothing.
    Hang,
    /// Hangs up at once.
    HangUp,
}

/// A national system that keeps the names of what it took.
#[derive(Default)]
struct National {
    moods: Mutex<VecDeque<Mood>>,
    /// Names and numbers of events, in the order in which they had their effect.
    taken: Mutex<Vec<(String, Vec<u64>)>>,
    requests: Mutex<usize>,
}

impl National {
    async fn serve(self: Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().connection(stream));
            }
        });
        address
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        loop {
            let mood = self.moods.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let mood = mood.unwrap_or(Mood::Answer(200));
            if mood == Mood::HangUp {
                return;
            }
            let Some((head, body)) = request(&mut stream).await else { return };
            *self.requests.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            if !matches!(mood, Mood::Hang | Mood::Answer(300..)) {
                self.take(&head, &body);
            }
            let answer = match mood {
                Mood::Answer(status) => {
                    format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n")
                }
                Mood::TakeAndBreakOff => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbrok".into(),
                Mood::TakeAndHangUp | Mood::HangUp => return,
                Mood::Hang => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    return;
                }
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            if mood == Mood::TakeAndBreakOff {
                return;
            }
        }
    }

    fn take(&self, head: &str, body: &[u8]) {
        let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap();
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["id"], key);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().all(|(known, _)| known != key) {
            let events = body["events"].as_array().unwrap();
            taken.push((key.into(), events.iter().map(|event| event["n"].as_u64().unwrap()).collect()));
        }
    }

    fn events(&self) -> Vec<u64> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().flat_map(|(_, events)| events.clone()).collect()
    }
}

/// Reads one request: its head in small letters, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut octets = Vec::new();
    loop {
        let mut buffer = [0; 4_096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        octets.extend_from_slice(&buffer[..read]);
        let Some(end) = octets.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&octets[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
        while octets.len() < end + 4 + length {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            octets.extend_from_slice(&buffer[..read]);
        }
        return Some((head, octets[end + 4..].to_vec()));
    }
}

fn config(address: SocketAddr, dead: &Path) -> WebhookConfig {
    let text = format!(
        "kind = \"webhook\"\noutgoing = \"x\"\n[webhook]\nurl = \"http://{address}/events\"\ntimeout_ms = 300\ndead_letters = {dead:?}"
    );
    toml::from_str::<BackendConfig>(&text).unwrap().webhook.unwrap()
}

fn put(folder: &Path, name: &str, numbers: std::ops::Range<u64>) {
    std::fs::create_dir_all(folder).unwrap();
    let lines: String = numbers.map(|number| format!("{{\"n\":{number}}}\n")).collect();
    std::fs::write(folder.join(name), lines).unwrap();
}

/// Posts three files of some events to a national system in these moods, until all is done.
async fn post_all(moods: &[Mood]) -> (Arc<National>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("queue");
    put(&folder, "0000000000000001.0000000001-250-1.ndjson", 0..10);
    put(&folder, "0000000000000002.0000000002-276-1.ndjson", 10..2_015);
    put(&folder, "0000000000000003.0000000003-250-2.ndjson", 2_015..2_020);
    let national =
        Arc::new(National { moods: Mutex::new(moods.iter().copied().collect()), ..National::default() });
    let address = national.clone().serve().await;
    let mut webhook =
        Webhook::open(&config(address, &dir.path().join("dead")), &folder, Disk::default()).unwrap();
    webhook.patience.after_taking = Duration::ZERO;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(webhook, stop.clone()));
    while !crate::durable::names(&folder).unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap();
    (national, dir)
}

#[tokio::test]
async fn everything_arrives_in_order_and_once_whatever_the_national_system_does() {
    // A few at once: pauses grow with every failure in a row.
    for moods in [
        [Mood::HangUp, Mood::TakeAndHangUp, Mood::Answer(500)],
        [Mood::Answer(429), Mood::TakeAndBreakOff, Mood::Answer(302)],
        [Mood::Hang, Mood::Answer(401), Mood::Answer(404)],
    ] {
        let (national, dir) = post_all(&moods).await;
        assert_eq!(national.events(), (0..2_020).collect::<Vec<_>>(), "{moods:?}");
        assert!(crate::durable::names(&dir.path().join("dead")).unwrap().is_empty(), "{moods:?}");
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter_and_holds_nobody_up() {
    let (national, dir) = post_all(&[[Mood::Answer(200)].as_slice(), &[Mood::Answer(422); 5]].concat()).await;
    assert_eq!(national.events(), (0..10).chain(1_010..2_020).collect::<Vec<_>>());
    let dead = crate::durable::names(&dir.path().join("dead")).unwrap();
    assert_eq!(dead, ["0000000002-276-1-0.json", "0000000002-276-1-0.status"]);
}

#[test]
fn a_part_is_refused_for_good_after_a_while_and_sooner_if_others_are_taken() {
    let (mut refusals, start) = (Refusals::default(), Instant::now());
    let refused = |refusals: &mut Refusals, times, since| {
        (0..times).map(|_| refusals.add(start + since, PATIENCE)).filter(|is_for_good| *is_for_good).count()
    };
    let Patience { after_taking, otherwise } = PATIENCE;
    assert_eq!(refused(&mut refusals, 50, Duration::ZERO), 0);
    refusals.failed();
    assert_eq!(refused(&mut refusals, 1, otherwise), 1);
    assert_eq!(refused(&mut refusals, 50, otherwise), 0, "the next one begins anew");
    refusals.taken();
    assert_eq!(refused(&mut refusals, 4, Duration::ZERO), 0);
    assert_eq!(refused(&mut refusals, 1, after_taking), 1);
    assert_eq!(refused(&mut refusals, 50, after_taking), 0, "it may be all that is refused");
    refusals.taken();
    assert_eq!(refused(&mut refusals, 4, Duration::ZERO), 0);
    refusals.unanswered();
    assert_eq!(refused(&mut refusals, 4, otherwise), 0, "it may be another system");
}

#[test]
fn an_address_is_https_or_does_not_leave_the_machine() {
    for good in ["https://backend.example.org:8443/x", "http://127.0.0.1:8080/", "http://[::1]:1/x"] {
        assert!(client::parse_url(good).is_ok(), "{good}");
    }
    for bad in [
        "http://backend.example.org/",
        "http://localhost/",
        "ftp://127.0.0.1/",
        "https://",
        "x",
        "https://a:b@c/",
    ] {
        let refused = client::parse_url(bad).unwrap_err().to_string();
        assert!(refused.contains("must be https://"), "{bad}: {refused}");
    }
}

#[test]
fn a_token_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "secret\n").unwrap();
    let mut config = config("127.0.0.1:1".parse().unwrap(), dir.path());
    config.token_file = Some(path.clone());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(check(&config).unwrap_err().to_string().contains("token"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(check(&config).is_ok());
    std::fs::write(&path, "two words\n").unwrap();
    assert!(matches!(check(&config), Err(WebhookError::Token { .. })));
    config.token_file = None;
    config.url = "https://backend.example.org/".into();
    assert!(matches!(check(&config), Err(WebhookError::NoCa)));
}
