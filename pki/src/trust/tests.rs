//! What a trust list must show, each rule broken in turn.

use proto::ids::CountryCode;

use super::*;
use crate::fixture::{Federation, now};
use crate::sign::SigningKey;
use crate::trust::Status;

fn federation() -> Federation {
    Federation::of(&["826/0", "826/1", "250/0"])
}

fn anchor() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
}

/// Three anchors more, in files up to `anchor-6.pub`.
fn more_anchors(federation: &Federation) -> Vec<SigningKey> {
    let more = |number: u8| {
        let key = anchor();
        let octets = key.public().sec1().to_vec();
        let file = crate::pubfile::PublicFile { algorithm: crate::keyfile::Algorithm::P256, octets };
        std::fs::write(federation.folder().join(format!("anchor-{number}.pub")), file.pem()).unwrap();
        key
    };
    (4..=6).map(more).collect()
}

fn country(list: &TrustList, code: u16) -> &crate::trust::Country {
    list.country(CountryCode::new(code).unwrap()).unwrap()
}

#[test]
fn a_list_that_two_of_three_signed_is_believed() {
    let federation = federation();
    let signed = federation.signed(&federation.draft(7));
    let again = SignedTrustList::parse(signed.file().as_bytes()).unwrap();
    assert_eq!(again, signed);
    let list = again.check(&federation.trusted(), now()).unwrap();
    assert_eq!(list.version, 7);
    assert_eq!(country(&list, 826).authorities.len(), 2);
    assert_eq!(country(&list, 250).status, Status::Active);
    let key = federation.country(826).signing.public().id();
    assert!(country(&list, 826).signing_key(key).is_some());
    assert!(country(&list, 250).signing_key(key).is_none(), "another country's key");
    assert!(list.authority("826/1".parse().unwrap()).is_some());
    assert!(list.authority("826/2".parse().unwrap()).is_none());
}

#[test]
fn one_signature_or_one_anchor_twice_or_a_stranger_is_too_few() {
    let federation = federation();
    let mut list = federation.unsigned(&federation.draft(1));
    let signatures = |list: &SignedTrustList| match list.check(&federation.trusted(), now()) {
        Err(TrustRefused::Threshold { which: "current", signed, needed: 2 }) => signed,
        other => panic!("{other:?}"),
    };
    assert_eq!(signatures(&list), 0);
    list.sign(&federation.anchors[0]);
    list.sign(&federation.anchors[0]);
    assert_eq!(signatures(&list), 1);
    list.sign(&anchor());
    assert_eq!(signatures(&list), 1);
    let twice = list.signatures[0].clone();
    list.signatures.push(twice);
    assert_eq!(signatures(&list), 1);
    list.sign(&federation.anchors[2]);
    assert!(list.check(&federation.trusted(), now()).is_ok());
}

#[test]
fn every_octet_of_the_document_is_signed() {
    let federation = federation();
    let signed = federation.signed(&federation.draft(1));
    for at in (0..signed.document.len()).step_by(97) {
        let mut altered = signed.clone();
        altered.document[at] ^= 1;
        let refused = altered.check(&federation.trusted(), now());
        assert!(matches!(refused, Err(TrustRefused::Threshold { signed: 0, .. })), "octet {at}");
    }
    for at in 0..64 {
        let mut altered = signed.clone();
        altered.signatures[0].octets[at] ^= 1;
        let refused = altered.check(&federation.trusted(), now());
        assert!(matches!(refused, Err(TrustRefused::Threshold { signed: 1, .. })), "octet {at}");
    }
}

#[test]
fn an_expired_list_and_one_from_the_future_are_refused() {
    let federation = federation();
    let signed = federation.signed(&federation.draft(1));
    let at = |now| signed.check(&federation.trusted(), now);
    let list = at(now()).unwrap();
    assert!(at(list.expires - 1).is_ok());
    assert!(matches!(at(list.expires), Err(TrustRefused::Expired { .. })));
    assert!(at(list.issued - 300).is_ok(), "clocks may differ by so much");
    assert!(matches!(at(list.issued - 301), Err(TrustRefused::FromTheFuture)));
}

#[test]
fn an_older_version_or_another_of_the_same_number_is_refused() {
    let federation = federation();
    let known = federation.signed(&federation.draft(5)).check(&federation.trusted(), now()).unwrap();
    let next = |draft: String| federation.signed(&draft).check_successor(&known, now());
    assert!(next(federation.draft(6)).is_ok());
    assert!(matches!(next(federation.draft(4)), Err(TrustRefused::Older { found: 4, known: 5 })));
    let forked = federation.draft(5).replace("Country 826", "Kingdom");
    assert!(matches!(next(forked), Err(TrustRefused::Forked { version: 5 })));
}

#[test]
fn new_anchors_need_the_old_and_the_new() {
    let federation = federation();
    let known = federation.trust_list();
    let [fourth, fifth, _] = &more_anchors(&federation)[..] else { panic!("three") };
    let draft =
        federation.draft(2).replace("anchor-2.pub", "anchor-4.pub").replace("anchor-3.pub", "anchor-5.pub");
    let mut list = federation.unsigned(&draft);
    federation.anchors[..2].iter().for_each(|anchor| list.sign(anchor));
    let refused = list.check_successor(&known, now());
    assert!(
        matches!(refused, Err(TrustRefused::Threshold { which: "new", signed: 1, needed: 2 })),
        "{refused:?}"
    );
    list.sign(fourth);
    let rolled = list.check_successor(&known, now()).unwrap();
    // From then on the new ones decide.
    let mut third = federation.unsigned(&draft.replace("version = 2", "version = 3"));
    third.sign(&federation.anchors[1]);
    third.sign(&federation.anchors[2]);
    assert!(third.check_successor(&rolled, now()).is_err());
    third.sign(fourth);
    third.sign(fifth);
    assert!(third.check_successor(&rolled, now()).is_ok());
}

#[test]
fn every_rule_of_the_document_is_kept() {
    let federation = federation();
    let refusal = |from: &str, to: &str| {
        let draft = federation.draft(1).replace(from, to);
        let path = federation.folder().join("bad.toml");
        std::fs::write(&path, draft).unwrap();
        crate::trust::Draft::read(&path, OffsetDateTime::now_utc()).unwrap_err().to_string()
    };
    let cases = [
        ("threshold = 2", "threshold = 4", "threshold is 4 of 3 anchors"),
        ("threshold = 2", "threshold = 0", "threshold is 0 of 3 anchors"),
        ("\"anchor-2.pub\"", "\"anchor-1.pub\"", "an anchor stands twice"),
        ("country = 826", "country = 250", "country 250 stands twice"),
        ("country = 250", "country = 0", "country 0: country is 0"),
        ("250.crt", "826.crt", "certificate authority"),
        ("250.crt", "250.pub", "it is no PEM certificate"),
        ("\"250.pub\"", "\"826.pub\"", "signing key"),
        ("authority = \"250/0\"", "authority = \"826/9\"", "it stands under country 250"),
        ("authority = \"250/0\"", "authority = \"nobody\"", "write 826/1"),
        ("authority = \"826/1\"", "authority = \"826/0\"", "authority 826/0 stands twice"),
        ("authority = \"826/1\"", "authority = \"826/00\"", "country 826, authority 826/00: write 826/1"),
        ("authority = \"826/1\"", "authority = \"x/0000ABCD\"", "or x/0000abcd for an opaque authority"),
        ("https://127.0.0.1:1", "http://127.0.0.1:1", "must be https://HOST:PORT"),
        ("https://127.0.0.1:1", "https://127.0.0.1", "must be https://HOST:PORT"),
        ("status = \"active\"", "status = \"absent\"", "unknown variant `absent`"),
        ("name = \"Country 250\"", "nom = \"Country 250\"", "unknown field `nom`"),
        ("\"anchor-3.pub\"", "\"missing.pub\"", "missing.pub"),
    ];
    for (from, to, expected) in cases {
        let refused = refusal(from, to);
        assert!(refused.contains(expected), "{from} -> {to}: {refused}");
    }
}

#[test]
fn a_file_that_is_no_trust_list_is_named() {
    let refusal = |file: &str| SignedTrustList::parse(file.as_bytes()).unwrap_err().to_string();
    assert!(refusal("{").contains("no trust list"));
    let other = r#"{"format":"exchange/v2 trust list","document":"","signatures":[]}"#;
    assert!(refusal(other).contains("this software reads `exchange/v1 trust list`"));
    let signature =
        r#"{"format":"exchange/v1 trust list","document":"","signatures":[{"anchor":"00","signature":""}]}"#;
    assert!(refusal(signature).contains("16 and a `signature` of 128 hex digits"));
}

mod keeper {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::trust::{KeeperError, TrustConfig, TrustKeeper};

    fn config(federation: &Federation) -> TrustConfig {
        let anchors = (1..=3).map(|n| file(federation, n)).collect();
        TrustConfig { list: federation.folder().join("trust.json"), anchors, threshold: 2 }
    }

    fn file(federation: &Federation, anchor: u8) -> PathBuf {
        federation.folder().join(format!("anchor-{anchor}.pub"))
    }

    fn install(federation: &Federation, draft: &str) {
        fs::write(federation.folder().join("trust.json"), federation.signed(draft).file()).unwrap();
    }

    fn install_by(federation: &Federation, draft: &str, signers: &[&SigningKey]) {
        let mut list = federation.unsigned(draft);
        signers.iter().for_each(|anchor| list.sign(anchor));
        fs::write(federation.folder().join("trust.json"), list.file()).unwrap();
    }

    /// A draft with the anchors 4 to 6 in place of those that are named.
    fn renewed(federation: &Federation, version: u64, renewed: &[u8]) -> String {
        let name = |anchor: u8| format!("anchor-{anchor}.pub");
        let renew = |draft: String, old: &u8| draft.replace(&name(*old), &name(old + 3));
        renewed.iter().fold(federation.draft(version), renew)
    }

    fn is_refused<T>(result: Result<T, KeeperError>, by: fn(&TrustRefused) -> bool) -> bool {
        matches!(result, Err(KeeperError::Refused { reason, .. }) if by(&reason))
    }

    #[test]
    fn a_newer_list_is_taken_over_and_an_older_one_is_not() {
        let federation = federation();
        let remembered = federation.folder().join("accepted");
        install(&federation, &federation.draft(2));
        let mut keeper = TrustKeeper::open(&config(&federation), remembered.clone(), now()).unwrap();
        let watch = keeper.watch();
        assert!(keeper.reload(now()).unwrap().is_none(), "nothing new");
        install(&federation, &federation.draft(3));
        assert!(keeper.reload(now()).unwrap().is_some());
        assert_eq!(watch.borrow().version, 3);
        install(&federation, &federation.draft(2));
        assert!(matches!(
            keeper.reload(now()),
            Err(KeeperError::Refused { reason: TrustRefused::Older { .. }, .. })
        ));
        assert_eq!(watch.borrow().version, 3);
        // Nor after a restart.
        let reopened = TrustKeeper::open(&config(&federation), remembered, now());
        assert!(matches!(reopened, Err(KeeperError::Refused { reason: TrustRefused::Older { .. }, .. })));
    }

    #[test]
    fn a_restart_and_a_preview_go_by_the_anchors_of_the_last_list() {
        for changed in [&[2, 3][..], &[1, 2, 3]] {
            let federation = federation();
            let (old, new) = (&federation.anchors, more_anchors(&federation));
            let new = [&new[1], &new[2]];
            let (config, remembered) = (config(&federation), federation.folder().join("accepted"));
            let open = || TrustKeeper::open(&config, remembered.clone(), now());
            install(&federation, &federation.draft(1));
            let mut keeper = open().unwrap();
            let draft = |version| renewed(&federation, version, changed);
            install_by(&federation, &draft(2), &[&old[0], &old[1], new[0], new[1]]);
            assert!(keeper.reload(now()).unwrap().is_some());
            install_by(&federation, &draft(3), &new);
            let kept = fs::read(&remembered).unwrap();
            assert_eq!(TrustKeeper::preview(&config, &remembered, now()).unwrap().version, 3);
            assert_eq!(fs::read(&remembered).unwrap(), kept, "a preview writes nothing");
            assert_eq!(open().unwrap().watch().borrow().version, 3);
            // Those that were replaced decide nothing any more.
            install(&federation, &federation.draft(4));
            let is_stranger =
                |reason: &TrustRefused| matches!(reason, TrustRefused::Threshold { which: "current", .. });
            assert!(is_refused(open(), is_stranger));
            assert!(is_refused(TrustKeeper::preview(&config, &remembered, now()), is_stranger));
        }
    }

    #[test]
    fn the_last_list_stays_when_its_anchors_are_put_into_the_configuration() {
        let federation = federation();
        let (old, new) = (&federation.anchors, more_anchors(&federation));
        let (mut config, remembered) = (config(&federation), federation.folder().join("accepted"));
        let draft = |version| renewed(&federation, version, &[1, 2, 3]);
        install_by(&federation, &draft(2), &[&old[0], &old[1], &new[0], &new[1]]);
        TrustKeeper::open(&config, remembered.clone(), now()).unwrap();
        config.anchors = (4..=6).rev().map(|n| file(&federation, n)).collect();
        install_by(&federation, &draft(1), &[&new[0], &new[1]]);
        let reopened = TrustKeeper::open(&config, remembered, now());
        assert!(is_refused(reopened, |reason| matches!(reason, TrustRefused::Older { found: 1, known: 2 })));
    }

    #[test]
    fn anchors_that_the_operator_has_replaced_by_hand_begin_anew() {
        let federation = federation();
        let new = more_anchors(&federation);
        let (mut config, remembered) = (config(&federation), federation.folder().join("accepted"));
        install(&federation, &federation.draft(7));
        TrustKeeper::open(&config, remembered.clone(), now()).unwrap();
        // One stays: the two that are gone must not decide for that.
        config.anchors[1..].clone_from_slice(&[5, 6].map(|n| file(&federation, n)));
        install_by(&federation, &renewed(&federation, 1, &[2, 3]), &[&new[1], &new[2]]);
        assert_eq!(TrustKeeper::preview(&config, &remembered, now()).unwrap().version, 1);
        assert_eq!(TrustKeeper::open(&config, remembered, now()).unwrap().watch().borrow().version, 1);
    }

    #[test]
    fn a_list_that_an_earlier_release_remembered_counts_by_the_rules_of_its_time() {
        let federation = federation();
        let (config, remembered) = (config(&federation), federation.folder().join("accepted"));
        let mut list = federation.unsigned(&federation.draft(2));
        list.document = list.document_text().replace("826/1", "0826/1").into_bytes();
        fs::write(&remembered, list.file()).unwrap();
        let open = || TrustKeeper::open(&config, remembered.clone(), now());
        install(&federation, &federation.draft(1));
        assert!(is_refused(open(), |reason| matches!(reason, TrustRefused::Older { found: 1, known: 2 })));
        install(&federation, &federation.draft(3));
        assert_eq!(open().unwrap().watch().borrow().version, 3);
        assert_eq!(open().unwrap().watch().borrow().version, 3, "and its own file reads back");
    }

    #[test]
    fn an_expired_list_is_told_of_while_running() {
        let federation = federation();
        install(&federation, &federation.draft(1));
        let remembered = federation.folder().join("accepted");
        let mut keeper = TrustKeeper::open(&config(&federation), remembered, now()).unwrap();
        let later = now() + 91 * 86_400;
        assert!(matches!(
            keeper.reload(later),
            Err(KeeperError::Refused { reason: TrustRefused::Expired { .. }, .. })
        ));
    }

    #[test]
    fn an_anchor_that_is_named_twice_does_not_count_twice() {
        let federation = federation();
        let mut list = federation.unsigned(&federation.draft(1));
        list.sign(&federation.anchors[0]);
        let key = *federation.anchors[0].public();
        let twice = Anchors { keys: vec![key, key], threshold: 2 };
        assert!(matches!(list.check(&twice, now()), Err(TrustRefused::Threshold { signed: 1, .. })));
        let mut config = config(&federation);
        config.anchors[2] = config.anchors[0].clone();
        assert!(matches!(TrustKeeper::check(&config, now()), Err(KeeperError::AnchorTwice)));
    }

    #[test]
    fn a_threshold_that_cannot_be_met_is_named() {
        let federation = federation();
        install(&federation, &federation.draft(1));
        let config = TrustConfig { threshold: 4, ..config(&federation) };
        let refused = TrustKeeper::check(&config, now()).unwrap_err().to_string();
        assert!(refused.contains("trust.threshold is 4 of 3 anchors"), "{refused}");
    }
}

#[test]
fn a_file_is_read_up_to_its_limit_and_not_one_octet_past_it() {
    let federation = federation();
    let mut file = federation.signed(&federation.draft(1)).file().into_bytes();
    file.resize(FILE_LEN, b' ');
    assert!(SignedTrustList::parse(&file).is_ok(), "space behind it is JSON");
    file.push(b' ');
    let refused = SignedTrustList::parse(&file).unwrap_err().to_string();
    assert!(refused.contains("longer than"), "{refused}");
}
