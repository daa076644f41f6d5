use pki::fixture::Federation;
use pki::seal::{PrivateKey, Suite};
use tempfile::TempDir;

use super::*;
use crate::testing::{install, write_config, write_key_list};

struct Place {
    federation: Federation,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let (federation, folder) =
            (Federation::of(&["826/0", "826/1", "250/0"]), tempfile::tempdir().unwrap());
        install(&federation, folder.path());
        Self { federation, folder }
    }

    fn problems(&self, from: &str, to: &str) -> Vec<String> {
        let path = write_config(self.folder.path(), "https://127.0.0.1:1", |text| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let file = ConfigFile::read(&path).unwrap();
        problems(&file, pki::fixture::now()).iter().map(ToString::to_string).collect()
    }

    fn only(&self, from: &str, to: &str, says: &str) {
        let found = self.problems(from, to);
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
    }
}

#[test]
fn a_good_configuration_has_no_problem_and_a_check_changes_nothing() {
    let place = Place::new();
    assert_eq!(place.problems("", ""), [""; 0]);
    for made in ["state", "outgoing", "delivered"] {
        assert!(!place.folder.path().join(made).exists(), "{made}");
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let place = Place::new();
    for gone in ["adapter.key", "country.key", "trust.json", "anchor-2.pub", "authority.keys"] {
        fs::remove_file(place.folder.path().join(gone)).unwrap();
    }
    let found = place.problems("backend", "backend");
    let keys: Vec<_> = found.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(keys, ["identity.key", "identity.hpke_keys", "trust.list", "trust.anchors"]);
    assert!(found.iter().all(|problem| problem.contains("cannot read")), "{found:?}");
}

#[test]
fn an_authority_that_does_not_fit_the_certificate_or_the_list_is_named() {
    let place = Place::new();
    let found = place.problems("\"826/1\"", "\"826/0\"");
    assert!(found[0].contains(
        "the certificate is exchange://826/1/adapter; the adapter of 826/0 needs exchange://826/0/adapter"
    ));
    assert!(found[1].contains("is not certified now for 826/0"), "{found:?}");
    let found = place.problems("\"826/1\"", "\"826/7\"");
    assert!(found[0].contains("authority 826/7 is not in the trust list"), "{found:?}");
}

#[test]
fn directories_that_are_none_or_the_same_are_named() {
    let place = Place::new();
    place.only("\"delivered\"", "\"outgoing\"", "backend.delivered: ");
    place.only("\"delivered\"", "\"adapter.crt\"", "adapter.crt is not a directory");
    place.only("\"state\"", "\"adapter.crt/state\"", "adapter.crt is not a directory");
}

#[test]
fn a_key_file_that_others_can_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let key = place.folder.path().join("country.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    place.only("", "", "run: chmod 600");
}

#[test]
fn a_trust_list_that_is_refused_is_named() {
    let place = Place::new();
    let unsigned = place.federation.unsigned(&place.federation.draft(1));
    fs::write(place.folder.path().join("trust.json"), unsigned.file()).unwrap();
    place.only("", "", "0 of the current anchors signed this list; 2 must");
    fs::write(place.folder.path().join("trust.json"), "{}").unwrap();
    place.only("", "", "the file is no trust list");
    place.only("threshold = 2", "threshold = 4", "trust.threshold is 4 of 3 anchors");
}

#[test]
fn an_older_trust_list_than_the_remembered_one_is_named() {
    let place = Place::new();
    fs::create_dir(place.folder.path().join("state")).unwrap();
    let newer = place.federation.signed(&place.federation.draft(2)).file();
    fs::write(place.folder.path().join("state/trust.remembered"), newer).unwrap();
    place.only("", "", "version 1 is older than version 2");
}

#[test]
fn a_key_list_that_nobody_could_use_is_named() {
    let place = Place::new();
    let folder = place.folder.path();
    let other = PrivateKey::parse(Suite::X25519, &PrivateKey::generate(Suite::X25519)).unwrap();
    write_key_list(&place.federation, folder, 2, &[other.public()]);
    place.only("", "", &format!("the key list offers key {}", other.id()));
    write_key_list(&place.federation, folder, 3, &[]);
    place.only("", "", "none of its keys is in force now");
    write_key_list(&Federation::of(&["826/1"]), folder, 4, &[other.public()]);
    place.only("", "", "is not certified now for 826/1 in the trust list");
    fs::write(folder.join("authority.keys"), "no key list").unwrap();
    place.only("", "", "is no signed key list");
}

#[test]
fn a_problem_is_shown_at_its_key() {
    let place = Place::new();
    let path = write_config(place.folder.path(), "https://127.0.0.1:1", |text| {
        text.replace("trust.json", "nowhere.json")
    });
    let file = ConfigFile::read(&path).unwrap();
    let problem = problems(&file, pki::fixture::now()).remove(0);
    let shown = format!("{:?}", miette::Report::new(problem));
    assert!(shown.contains("list = \"nowhere.json\"") && shown.contains("help: "), "{shown}");
}

#[test]
fn the_whole_cause_of_an_error_is_told() {
    let place = Place::new();
    let key = place.folder.path().join("country.key");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    place.only("", "", "country.key: Is a directory");
}
