//! The `pki` command as people run it: files on the disk, words on the screen, exit codes.

#![allow(clippy::unwrap_used, reason = "whatever fails here is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const DONE: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const WRONG_USAGE: Option<i32> = Some(2);
const INVALID: Option<i32> = Some(3);

/// A folder in which commands run, with a pass phrase file.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::write(desk.path("passphrase"), "a long pass phrase\n").unwrap();
        fs::set_permissions(desk.path("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a line; words are parted by spaces.
    fn run(&self, line: &str) -> Output {
        let mut pki = Command::new(env!("CARGO_BIN_EXE_pki"));
        pki.current_dir(self.0.path()).args(line.split_whitespace()).output().unwrap()
    }

    /// Runs a line that must succeed, and gives what it says.
    fn done(&self, line: &str) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), DONE, "pki {line}\n{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a line that must end with a code, and gives both of its outputs.
    fn ends(&self, line: &str, code: Option<i32>) -> String {
        let output = self.run(line);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), code, "pki {line}\n{said}");
        said
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// A country's authority, gateway certificate, and signing, authority and HPKE keys.
    fn country(&self) {
        self.done("ca create --country 826 --out ca --passphrase-file passphrase");
        self.done("key create --kind tls --out gateway.key --passphrase-file passphrase");
        self.done("csr --key gateway.key --passphrase-file passphrase --out gateway.csr");
        for name in ["manifests", "lists"] {
            self.done(&format!("key create --kind signing --out {name}.key --no-passphrase"));
        }
        self.done("key create --kind hpke --out country.key --no-passphrase");
    }

    /// The trust list `trust.json`, signed by two of three anchors.
    fn trust(&self) {
        for anchor in ["a", "b", "c"] {
            self.done(&format!("key create --kind anchor --out {anchor} --passphrase-file passphrase"));
        }
        fs::write(self.path("draft.toml"), DRAFT).unwrap();
        self.done("trust create draft.toml --out trust.json");
        self.done("trust sign trust.json --anchor a --passphrase-file passphrase");
        self.done("trust sign trust.json --anchor b --passphrase-file passphrase");
    }
}

const DRAFT: &str = r#"
version = 1
threshold = 2
anchors = ["a.pub", "b.pub", "c.pub"]

[[country]]
country = 826
name = "United Kingdom"
endpoints = ["https://gateway.example.org:7443"]
ca = "ca/ca.crt"
signing_keys = ["manifests.key.pub"]

[[country.authority]]
authority = "826/1"
name = "Health service"
signing_keys = ["lists.key.pub"]
"#;

#[test]
fn a_country_gets_its_certificates() {
    let desk = Desk::new();
    desk.country();
    assert_eq!((desk.mode("ca/ca.key"), desk.mode("ca/ca.crt")), (0o600, 0o644));
    assert_eq!((desk.mode("gateway.key"), desk.mode("gateway.key.pub")), (0o600, 0o644));
    let issue = "issue --ca ca --csr gateway.csr --passphrase-file passphrase";
    let said = desk.done(&format!("{issue} --role gateway --dns gateway.example.org --out gateway.crt"));
    assert!(said.contains("exchange://826/gateway") && said.contains("next"), "{said}");
    desk.done(&format!("{issue} --role adapter --authority 826/1 --days 30 --out adapter.crt"));
    desk.done(&format!("{issue} --role adapter --authority x/0000abcd --out opaque.crt"));
    desk.done(&format!("{issue} --role operator --out operator.crt"));
    for (file, name) in [
        ("gateway.crt", "exchange://826/gateway"),
        ("adapter.crt", "exchange://826/1/adapter"),
        ("opaque.crt", "exchange://826/x/0000abcd/adapter"),
        ("operator.crt", "exchange://826/operator"),
    ] {
        let said = desk.done(&format!("show {file}"));
        assert!(said.contains(name) && said.contains("serial") && !said.contains("invalid"), "{said}");
    }
}

#[test]
fn openssl_verifies_what_was_issued() {
    let desk = Desk::new();
    desk.country();
    desk.done(
        "issue --ca ca --csr gateway.csr --role gateway --passphrase-file passphrase --out gateway.crt",
    );
    let mut openssl = Command::new("openssl");
    openssl
        .args(["verify", "-x509_strict", "-CAfile"])
        .arg(desk.path("ca/ca.crt"))
        .arg(desk.path("gateway.crt"));
    // Where openssl is not installed there is nothing to compare with.
    let Ok(verified) = openssl.output() else { return };
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let mut openssl = Command::new("openssl");
    openssl
        .args(["pkey", "-noout", "-passin", "file:passphrase", "-in", "gateway.key"])
        .current_dir(desk.0.path());
    assert!(openssl.output().unwrap().status.success());
}

#[test]
fn an_authority_is_not_made_twice_in_one_folder() {
    let desk = Desk::new();
    desk.done("ca create --country 826 --out ca --no-passphrase");
    let before = fs::read(desk.path("ca/ca.key")).unwrap();
    let said = desk.ends("ca create --country 250 --out ca --no-passphrase", FAILED);
    assert!(said.contains("ca/ca.key exists"), "{said}");
    assert_eq!(fs::read(desk.path("ca/ca.key")).unwrap(), before);
}

#[test]
fn a_key_is_not_overwritten() {
    let desk = Desk::new();
    desk.done("key create --kind signing --out key --no-passphrase");
    let before = fs::read(desk.path("key")).unwrap();
    let said = desk.ends("key create --kind signing --out key --no-passphrase", FAILED);
    assert!(said.contains("exists and is never overwritten"), "{said}");
    fs::remove_file(desk.path("key.pub")).unwrap();
    desk.ends("key create --kind signing --out key --no-passphrase", FAILED);
    assert_eq!(fs::read(desk.path("key")).unwrap(), before);
    assert!(!desk.path("key.pub").exists());
}

#[test]
fn how_a_key_is_protected_is_always_chosen() {
    let desk = Desk::new();
    desk.ends("key create --kind tls --out key", WRONG_USAGE);
    desk.ends("key create --kind tls --out key --no-passphrase --passphrase-file passphrase", WRONG_USAGE);
    desk.ends("ca create --country 826 --out ca", WRONG_USAGE);
    assert!(!desk.path("key").exists() && !desk.path("ca").exists());
}

#[test]
fn a_short_or_open_pass_phrase_makes_no_key() {
    let desk = Desk::new();
    fs::set_permissions(desk.path("passphrase"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = desk.ends("key create --kind tls --out key --passphrase-file passphrase", FAILED);
    assert!(said.contains("chmod 600 passphrase"), "{said}");
    fs::write(desk.path("passphrase"), "short\n").unwrap();
    fs::set_permissions(desk.path("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = desk.ends("key create --kind tls --out key --passphrase-file passphrase", FAILED);
    assert!(said.contains("at least 12"), "{said}");
    assert!(!desk.path("key").exists());
}

#[test]
fn suites_are_for_hpke_keys() {
    let desk = Desk::new();
    for suite in ["x-wing", "p256", "x25519"] {
        desk.done(&format!("key create --kind hpke --suite {suite} --out {suite} --no-passphrase"));
        let said = desk.done(&format!("show {suite}.pub"));
        assert!(said.contains("HPKE id"), "{said}");
        let said = desk.done(&format!("show {suite}"));
        assert!(said.contains("not shown"), "{said}");
    }
    let said = desk.ends("key create --kind tls --suite x25519 --out key --no-passphrase", WRONG_USAGE);
    assert!(said.contains("--kind hpke"), "{said}");
    desk.ends("key create --kind hpke --suite rsa --out key --no-passphrase", WRONG_USAGE);
    let said = desk.ends("csr --key x25519 --out csr", FAILED);
    assert!(said.contains("holds a key of X25519, and one of P-256 is needed"), "{said}");
}

#[test]
fn a_request_that_was_altered_is_refused() {
    let desk = Desk::new();
    desk.country();
    let request = fs::read_to_string(desk.path("gateway.csr")).unwrap();
    // A character inside the signature, which is at the end.
    let end = request.rfind("\n-----END").unwrap();
    let at = end - 12;
    let other = if &request[at..=at] == "A" { "B" } else { "A" };
    fs::write(desk.path("altered.csr"), format!("{}{other}{}", &request[..at], &request[at + 1..])).unwrap();
    let line =
        "issue --ca ca --csr altered.csr --role gateway --passphrase-file passphrase --out altered.crt";
    let said = desk.ends(line, FAILED);
    assert!(said.contains("altered.csr is refused"), "{said}");
    assert!(!desk.path("altered.crt").exists());
}

#[test]
fn an_order_that_makes_no_sense_is_refused() {
    let desk = Desk::new();
    desk.country();
    let issue = "issue --ca ca --csr gateway.csr --passphrase-file passphrase --out out.crt";
    desk.ends(&format!("{issue} --role adapter"), WRONG_USAGE);
    desk.ends(&format!("{issue} --role gateway --authority 826/1"), WRONG_USAGE);
    desk.ends(&format!("{issue} --role gateway --days 399"), WRONG_USAGE);
    desk.ends(&format!("{issue} --role clerk"), WRONG_USAGE);
    let said = desk.ends(&format!("{issue} --role adapter --authority 250/1"), FAILED);
    assert!(said.contains("250/1 is not of country 826"), "{said}");
    let said = desk.ends("issue --ca ca --csr gateway.csr --role gateway --out out.crt", FAILED);
    assert!(said.contains("ca/ca.key is encrypted"), "{said}");
    assert!(!desk.path("out.crt").exists());
}

#[test]
fn a_trust_list_is_valid_once_enough_anchors_signed() {
    let desk = Desk::new();
    desk.country();
    desk.trust();
    let said = desk.done("trust verify trust.json");
    assert!(said.contains("names itself"), "{said}");
    desk.done("trust verify trust.json --anchors a.pub b.pub c.pub --threshold 2");
    let said = desk.ends("trust verify trust.json --anchors a.pub b.pub c.pub", INVALID);
    assert!(said.contains("2 of the current anchors signed"), "{said}");
    desk.ends("trust verify trust.json --anchors a.pub --threshold 2", WRONG_USAGE);
    desk.ends("trust verify draft.toml", INVALID);
    desk.ends("trust verify nothing.json", FAILED);
    for line in ["trust show trust.json", "show trust.json"] {
        let said = desk.done(line);
        for part in ["United Kingdom", "https://gateway.example.org:7443", "826/1", "active", "until"] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }
}

#[test]
fn one_signature_of_two_is_not_enough() {
    let desk = Desk::new();
    desk.country();
    desk.trust();
    desk.done("trust create draft.toml --out again.json");
    desk.done("trust sign again.json --anchor a --passphrase-file passphrase");
    let said = desk.done("trust sign again.json --anchor a --passphrase-file passphrase");
    assert!(said.contains("1; 2 are needed"), "{said}");
    desk.ends("trust verify again.json", INVALID);
}

#[test]
fn a_key_list_is_checked_against_the_trust_list() {
    let desk = Desk::new();
    desk.country();
    desk.trust();
    let create = "key-list create --authority 826/1 --add country.key.pub --version 1";
    let said = desk.done(&format!("{create} --sign-with lists.key --out 826-1.keys"));
    assert!(said.contains("in force") && said.contains("x-wing"), "{said}");
    let by = "--trust trust.json --anchors a.pub b.pub c.pub --threshold 2";
    let said = desk.done(&format!("key-list verify 826-1.keys {by}"));
    assert!(said.contains("valid") && said.contains("826/1"), "{said}");
    let said = desk.done("show 826-1.keys");
    assert!(said.contains("826/1") && said.contains("nothing is checked"), "{said}");
    // The country's key signs its gateway's list and no authority's.
    desk.done(&format!("{create} --sign-with manifests.key --out stranger.keys"));
    let said = desk.ends(&format!("key-list verify stranger.keys {by}"), INVALID);
    assert!(said.contains("not certified"), "{said}");
    let ingress = "key-list create --authority 826/0 --kind ingress --add country.key.pub --version 1";
    desk.done(&format!("{ingress} --sign-with manifests.key --out ingress.keys"));
    desk.done(&format!("key-list verify ingress.keys {by}"));
    let mut altered = fs::read(desk.path("826-1.keys")).unwrap();
    altered[100] ^= 1;
    fs::write(desk.path("altered.keys"), altered).unwrap();
    desk.ends(&format!("key-list verify altered.keys {by}"), INVALID);
}

#[test]
fn keys_are_listed_for_the_time_given() {
    let desk = Desk::new();
    desk.country();
    let create = "key-list create --authority 826/1 --version 1 --sign-with lists.key --out list";
    let said = desk.done(&format!("{create} --add country.key.pub@2040-01-01..2040-04-01T12:00:00Z"));
    assert!(said.contains("2040-01-01T00:00:00Z to 2040-04-01T12:00:00Z"), "{said}");
    assert!(said.contains("none: senders cannot seal"), "{said}");
    for span in ["2040-04-01..2040-01-01", "soon..later"] {
        desk.ends(&format!("{create} --add country.key.pub@{span}"), WRONG_USAGE);
    }
    desk.ends(&format!("{create} --add country.key.pub --add country.key.pub"), WRONG_USAGE);
    desk.ends(create, WRONG_USAGE);
}

#[test]
fn a_file_that_is_nothing_of_ours_is_named() {
    let desk = Desk::new();
    fs::write(desk.path("text"), "hello").unwrap();
    fs::write(desk.path("empty"), "").unwrap();
    for file in ["text", "empty", "nowhere"] {
        let said = desk.ends(&format!("show {file}"), FAILED);
        assert!(said.contains(file), "{said}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let desk = Desk::new();
    for line in [
        "ca create --country 826 --out ca --no-passphrase",
        "key create --kind hpke --out key --no-passphrase",
        "show key",
        "show ca/ca.key",
    ] {
        let said = desk.done(line);
        assert!(!said.contains("BEGIN") && !said.contains("a long pass phrase"), "{said}");
        for file in ["key", "ca/ca.key"] {
            let Ok(key) = fs::read_to_string(desk.path(file)) else { continue };
            assert!(key.lines().all(|line| !said.contains(line)), "{said}");
        }
    }
}

#[test]
fn help_version_and_completions_are_there() {
    let desk = Desk::new();
    let said = desk.done("--help");
    assert!(said.contains("Exit codes") && said.contains("3  checked and found invalid"), "{said}");
    assert!(desk.done("--version").starts_with("pki 0."));
    assert!(desk.done("completions bash").contains("pki"));
    assert!(desk.done("issue --help").contains("EXAMPLE"));
    desk.ends("", WRONG_USAGE);
    desk.ends("dance", WRONG_USAGE);
}
