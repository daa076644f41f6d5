//! Every kind of key there and back, every refusal, and openssl's opinion.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use super::*;

const PASSPHRASE: &str = "a long pass phrase";

/// draft-connolly-cfrg-xwing-kem, appendix D: a seed, its file, and the start of its public key.
const X_WING_SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const X_WING_FILE: &str = "-----BEGIN PRIVATE KEY-----
MDQCAQAwDQYLKwYBBAGD5i2ByHoEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ
GhscHR4f
-----END PRIVATE KEY-----
";

/// RFC 8410 10.3.
const ED25519_FILE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.path("file");
        let _ = fs::remove_file(&path);
        disk::create_secret(&path, content.as_bytes()).unwrap();
        path
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::parse(text.as_bytes()).unwrap()
}

fn new_passphrase() -> NewPassphrase {
    passphrase(PASSPHRASE).for_new_key().unwrap()
}

fn refused(path: &Path, passphrase: Option<&Passphrase>) -> KeyFileError {
    KeyFile::read(path, passphrase).err().unwrap()
}

fn openssl(arguments: &[&str], file: &Path) -> Output {
    Command::new("openssl").args(arguments).arg("-in").arg(file).output().unwrap()
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok()
}

#[test]
fn every_algorithm_reads_back_plain_and_encrypted() {
    let (disk, new) = (Disk::new(), new_passphrase());
    for algorithm in Algorithm::ALL {
        let key = KeyFile::generate(algorithm);
        let (plain, encrypted) = (disk.path(&format!("{algorithm}")), disk.path(&format!("{algorithm}.enc")));
        key.write(&plain, Protection::Plain).unwrap();
        key.write(&encrypted, Protection::Encrypted(&new)).unwrap();
        assert!(fs::read_to_string(&plain).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(fs::read_to_string(&encrypted).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        for path in [plain, encrypted] {
            let read = KeyFile::read_as(&path, Some(new.passphrase()), algorithm).unwrap();
            assert_eq!(read.octets().expose(), key.octets().expose());
            assert_eq!(read.pkcs8().expose(), key.pkcs8().expose());
            assert_eq!(read.public(), key.public());
        }
    }
}

#[test]
fn a_p256_key_signs() {
    let key = KeyFile::generate(Algorithm::P256);
    let signing = crate::sign::SigningKey::from_pkcs8(&key.pkcs8()).unwrap();
    assert_eq!(signing.public().sec1().as_slice(), key.public());
    // The signing half makes keys of its own; a key file takes them too.
    let made = crate::sign::SigningKey::generate();
    assert!(parse(Path::new("made"), made.expose()).is_ok());
}

#[test]
fn the_x_wing_draft_and_we_write_the_same_file() {
    let disk = Disk::new();
    let key = KeyFile::read(&disk.file(X_WING_FILE), None).unwrap();
    assert_eq!(key.algorithm(), Algorithm::XWing);
    assert_eq!(hex::encode(key.octets().expose()), X_WING_SEED);
    assert_eq!(hex::encode(&key.public()[..8]), "6f54098a0a0e6411");
    let again = disk.path("again");
    key.write(&again, Protection::Plain).unwrap();
    assert_eq!(fs::read_to_string(again).unwrap(), X_WING_FILE);
}

#[test]
fn the_wrong_pass_phrase_and_none_are_told_apart() {
    let (disk, new) = (Disk::new(), new_passphrase());
    let path = disk.path("key");
    KeyFile::generate(Algorithm::X25519).write(&path, Protection::Encrypted(&new)).unwrap();
    assert!(matches!(refused(&path, None), KeyFileError::PassphraseMissing { .. }));
    let wrong = refused(&path, Some(&passphrase("another pass phrase")));
    assert!(matches!(&wrong, KeyFileError::WrongPassphrase { .. }));
    assert!(wrong.to_string().contains(path.to_str().unwrap()));
}

#[test]
fn a_key_that_others_can_read_is_refused_by_name() {
    let disk = Disk::new();
    let path = disk.file(X_WING_FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = refused(&path, None).to_string();
    assert!(refused.contains(&format!("chmod 600 {}", path.display())), "{refused}");
}

#[test]
fn a_key_is_never_overwritten() {
    let disk = Disk::new();
    let path = disk.file(X_WING_FILE);
    let refused = KeyFile::generate(Algorithm::P256).write(&path, Protection::Plain).unwrap_err();
    assert!(matches!(refused, KeyFileError::Disk(DiskError::Exists { .. })));
    assert_eq!(fs::read_to_string(path).unwrap(), X_WING_FILE);
}

#[test]
fn what_is_no_key_file_is_named() {
    let disk = Disk::new();
    let text = disk.file("no key here");
    assert!(matches!(refused(&text, None), KeyFileError::NotPem { .. }));
    let certificate = disk.file(&X_WING_FILE.replace("PRIVATE KEY", "CERTIFICATE"));
    assert!(
        matches!(refused(&certificate, None), KeyFileError::NotPkcs8 { label, .. } if label == "CERTIFICATE")
    );
    let huge = disk.file(&"x".repeat(LIMIT + 1));
    assert!(matches!(refused(&huge, None), KeyFileError::Disk(DiskError::TooLarge { .. })));
    let damaged = disk.file("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    assert!(matches!(refused(&damaged, None), KeyFileError::Damaged { .. }));
    let damaged =
        disk.file("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    assert!(matches!(refused(&damaged, Some(&passphrase("x"))), KeyFileError::Scheme { .. }));
}

#[test]
fn another_algorithm_is_named() {
    let disk = Disk::new();
    let ed25519 = disk.file(ED25519_FILE);
    assert!(
        matches!(refused(&ed25519, None), KeyFileError::UnknownAlgorithm { oid, .. } if oid == "1.3.101.112")
    );
    let path = disk.file(X_WING_FILE);
    let wrong = KeyFile::read_as(&path, None, Algorithm::P256).err().unwrap();
    assert!(matches!(
        wrong,
        KeyFileError::WrongAlgorithm { is: Algorithm::XWing, must: Algorithm::P256, .. }
    ));
}

#[test]
fn a_public_key_beside_another_private_key_is_refused() {
    let (key, other) = (KeyFile::generate(Algorithm::P256), KeyFile::generate(Algorithm::P256));
    let mixed = KeyFile { algorithm: key.algorithm, octets: key.octets, public: other.public };
    let refused = parse(Path::new("mixed"), mixed.pkcs8().expose()).err().unwrap();
    assert!(matches!(refused, KeyFileError::Damaged { .. }));
}

#[test]
fn an_old_encryption_is_named() {
    if !has_openssl() {
        return;
    }
    let disk = Disk::new();
    let path = disk.path("plain");
    KeyFile::generate(Algorithm::P256).write(&path, Protection::Plain).unwrap();
    let arguments = ["pkcs8", "-topk8", "-v2", "des3", "-passout", "pass:a long pass phrase"];
    let old = openssl(&arguments, &path);
    let old = disk.file(str::from_utf8(&old.stdout).unwrap());
    assert!(matches!(refused(&old, Some(&passphrase(PASSPHRASE))), KeyFileError::Scheme { .. }));
}

#[test]
fn openssl_reads_what_we_write() {
    if !has_openssl() {
        return;
    }
    let (disk, new) = (Disk::new(), new_passphrase());
    for algorithm in [Algorithm::P256, Algorithm::X25519] {
        let (plain, encrypted) = (disk.path(&format!("{algorithm}")), disk.path(&format!("{algorithm}.enc")));
        let key = KeyFile::generate(algorithm);
        key.write(&plain, Protection::Plain).unwrap();
        key.write(&encrypted, Protection::Encrypted(&new)).unwrap();
        for path in [plain, encrypted] {
            let read =
                openssl(&["pkey", "-pubout", "-outform", "DER", "-passin", "pass:a long pass phrase"], &path);
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            assert!(read.stdout.ends_with(key.public()), "{algorithm}");
        }
    }
}

#[test]
fn we_read_what_openssl_writes() {
    if !has_openssl() {
        return;
    }
    let disk = Disk::new();
    let path = disk.path("plain");
    let key = KeyFile::generate(Algorithm::P256);
    key.write(&path, Protection::Plain).unwrap();
    for scheme in [&["-v2", "aes-256-cbc"][..], &["-scrypt"]] {
        let arguments = [&["pkcs8", "-topk8", "-passout", "pass:a long pass phrase"], scheme].concat();
        let theirs = disk.file(str::from_utf8(&openssl(&arguments, &path).stdout).unwrap());
        let read = KeyFile::read(&theirs, Some(&passphrase(PASSPHRASE))).unwrap();
        assert_eq!(read.pkcs8().expose(), key.pkcs8().expose());
    }
}
