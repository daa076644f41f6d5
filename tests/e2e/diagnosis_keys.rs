//! A country that ran on EFGS and GAEN's servers joins with its data as it is.

use std::path::Path;
use std::time::Duration;

use country_adapter::diagnosis::efgs::{self, DiagnosisKey, DiagnosisKeyBatch};
use country_adapter::diagnosis::gaen_export::{self, Period};
use country_adapter::phones::upload::UploadedKey;
use harness::citizens::Citizens;
use harness::members::{CountryPlan, country};
use harness::story::unix_now;
use harness::{Federation, authority};
use pki::keyfile::Algorithm;
use pki::pubfile::PublicFile;
use pki::sign::SigningKey;
use prost::Message;
use proto::day::Day;
use proto::report::{IllKey, OnsetDays};

const UK: &str = "826/0";
/// A country without a national authority: each state has its phones.
const AUSTRALIA: [&str; 2] = ["36/2", "36/3"];
const DAY: u32 = 144;
const SOON: Duration = Duration::from_secs(20);

async fn federation() -> Federation {
    let citizens = Citizens::decentralised();
    let states = [(AUSTRALIA[0], "Victoria"), (AUSTRALIA[1], "Queensland")];
    let builder = Federation::builder()
        .country(
            CountryPlan::new(826, "United Kingdom", &[(UK, "United Kingdom")]).citizens(citizens.clone()),
        )
        .country(CountryPlan::new(36, "Australia", &states).citizens(citizens));
    builder.start().await.unwrap()
}

fn today() -> u32 {
    Day::of_unix(unix_now()).number().into()
}

/// A key of EFGS that was used some days ago.
fn key(octet: u8, days_ago: u32) -> DiagnosisKey {
    DiagnosisKey {
        key_data: vec![octet; 16],
        rolling_start_interval_number: (today() - days_ago) * DAY,
        rolling_period: DAY,
        transmission_risk_level: 3,
        visited_countries: vec!["AU".into()],
        origin: "GB".into(),
        report_type: 1,
        days_since_onset_of_symptoms: -2,
    }
}

/// Keys that an authority has been sent, as soon as there are so many.
async fn arrived(federation: &Federation, of: &str, count: usize) -> Vec<UploadedKey> {
    let folder = federation.adapter(authority(of)).unwrap().phones.as_ref().unwrap().exports.clone();
    let read = || {
        let files = std::fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path());
        let batches = files.filter(|file| file.extension().is_some_and(|ending| ending == "efgs"));
        let keys = batches.flat_map(|file| efgs::read_any(&std::fs::read(file).unwrap()).unwrap().0);
        let keys: Vec<_> = keys.map(|(_, key)| key).collect();
        (keys.len() >= count).then_some(keys)
    };
    federation.wait_until("the keys arrive", SOON, async || read()).await.unwrap()
}

async fn import(federation: &Federation, file: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["keys", "import", "CONFIG", file.to_str().unwrap()], options].concat();
    let printed = federation.command(authority(UK), &arguments).await.unwrap();
    (printed.status, printed.text, printed.errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_efgs_goes_to_every_authority_and_comes_out_as_a_signed_export() {
    let federation = federation().await;
    let file = federation.folder().join("batch.efgs");
    let wrong = DiagnosisKey { key_data: vec![3; 15], ..key(3, 2) };
    let keys = vec![key(1, 2), key(2, 0), wrong, key(4, 20)];
    std::fs::write(&file, DiagnosisKeyBatch { keys }.encode_to_vec()).unwrap();

    let (status, _, errors) = import(&federation, &file, &["--format", "efgs", "--strict"]).await;
    assert_eq!(status, Some(1), "{errors}");
    assert!(errors.contains("2 keys are wrong; nothing was sent"), "{errors}");

    let (status, text, errors) = import(&federation, &file, &["--format", "efgs"]).await;
    assert_eq!(status, Some(4), "some keys were left out: {errors}");
    assert!(errors.contains("key 3: keyData has 15 octets; it must have 16"), "{errors}");
    assert!(errors.contains("key 4: the date is more than 15 days ago"), "{errors}");
    assert!(text.contains("2 keys give 4 reports; 2 of them wait until their keys are out of use"), "{text}");

    for state in AUSTRALIA {
        let arrived = arrived(&federation, state, 1).await;
        let [UploadedKey { key: IllKey::Gaen(octets, window), onset, .. }] = arrived.as_slice() else {
            panic!("{state} has {} keys, not the one whose time is over", arrived.len());
        };
        assert_eq!((octets.octets(), window.start()), (&[1; 16], (today() - 2) * DAY), "{state}");
        assert_eq!(*onset, OnsetDays::new(-2).ok());

        let zip = federation.folder().join(format!("export-{}.zip", state.replace('/', "-")));
        let arguments = ["keys", "export", "CONFIG", "--out", zip.to_str().unwrap()];
        let printed = federation.command(authority(state), &arguments).await.unwrap();
        assert_eq!(printed.status, Some(0), "{}", printed.errors);
        assert!(printed.text.starts_with("1 keys in "), "{}", printed.text);
        let home = harness::phone::Home::of(federation.adapter(authority(state)).unwrap()).unwrap();
        let (keys, left_out) =
            gaen_export::read(&std::fs::read(&zip).unwrap(), Some(home.list_key())).unwrap();
        assert_eq!((keys.len(), left_out.len()), (1, 0));
        assert_eq!(keys[0].1.key, arrived[0].key, "phones of {state} download it");
    }
    let held = federation.adapter(authority(UK)).unwrap().state.join("spool/held");
    assert_eq!(std::fs::read_dir(held).unwrap().count(), 1, "the key that is in use is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gaen_export_is_taken_with_its_signature_and_not_without() {
    let federation = federation().await;
    let folder = federation.folder();
    let (batch, _) = efgs::read_any(&DiagnosisKeyBatch { keys: vec![key(9, 3)] }.encode_to_vec()).unwrap();
    let keys: Vec<_> = batch.into_iter().map(|(_, key)| UploadedKey { visited: Vec::new(), ..key }).collect();
    let signing = || SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    let (signing, other) = (signing(), signing());
    let period = Period { region: country(826), start: unix_now() - 86_400, end: unix_now() };
    let zip = folder.join("export.zip");
    std::fs::write(&zip, gaen_export::write(&keys, &period, &signing).0).unwrap();
    let public = |name: &str, key: &SigningKey| {
        let path = folder.join(name);
        let octets = key.public().sec1().to_vec();
        std::fs::write(&path, PublicFile { algorithm: Algorithm::P256, octets }.pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (public("right.pub", &signing), public("wrong.pub", &other));

    let options = ["--format", "gaen", "--visited", "36"];
    for (more, says) in [
        (&[][..], "name the key with --verification-key"),
        (&["--verification-key", &wrong], "no signature of the verification key"),
    ] {
        let (status, _, errors) = import(&federation, &zip, &[&options, more].concat()).await;
        assert_eq!(status, Some(1), "{errors}");
        assert!(errors.contains(says), "{errors}");
    }
    let more = ["--verification-key", &right];
    let (status, text, errors) = import(&federation, &zip, &[&options[..], &more].concat()).await;
    assert_eq!(status, Some(0), "{errors}");
    assert!(text.contains("1 keys give 2 reports; 0 of them wait"), "{text}");
    for state in AUSTRALIA {
        assert_eq!(arrived(&federation, state, 1).await[0].key, keys[0].key, "{state}");
    }
}
