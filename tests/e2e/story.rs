//! The story holds, in a form that machines read.

use std::collections::BTreeSet;
use std::process::Stdio;

use harness::binaries::Binaries;
use harness::turn;
use serde_json::Value;

/// Every step, in its order: a story that leaves one out is not the story.
const STEPS: [&str; 54] = [
    "secured-meeting",
    "british-case",
    "britain-to-france",
    "warned-by-the-national-system",
    "second-meeting",
    "venue-visit",
    "french-case",
    "france-to-britain",
    "warned-by-the-list",
    "warned-of-the-venue",
    "third-meeting",
    "third-case",
    "warned-at-home",
    "warned-abroad",
    "simple-meeting",
    "victorian-case",
    "victoria-to-britain",
    "matched-by-key",
    "simple-case",
    "recognised-at-home",
    "replayed-upload",
    "stale-contact",
    "too-many-contacts",
    "malformed-upload",
    "code-still-good",
    "flood-of-wrong-codes",
    "sealed-junk",
    "replayed-token",
    "relayed-token",
    "clock-skew",
    "nobodys-token",
    "flood",
    "forged-list",
    "carrier-meets",
    "candidate",
    "sign-off",
    "advised",
    "forged-advice",
    "second-degree",
    "radio-holds",
    "ill-phone-holds",
    "ill-authority-holds",
    "ill-gateway-holds",
    "network-holds",
    "contact-gateway-holds",
    "contact-authority-holds",
    "all-phones-hold",
    "contact-phone-holds",
    "other-country-holds",
    "gateways-hold",
    "france-holds",
    "victoria-holds",
    "british-phones-hold",
    "british-authority-holds",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_the_story_holds() {
    let _turn = turn::mine().await;
    let federation = Binaries::find().unwrap().federation;
    let mut command = tokio::process::Command::new(federation);
    command.args(["story", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let steps = told["steps"].as_array().unwrap_or_else(|| panic!("{told}"));
    let broken: Vec<_> = steps.iter().filter(|step| step["holds"] != true).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!((&told["holds"], &told["error"]), (&true.into(), &Value::Null));
    assert_eq!(output.status.code(), Some(0));
    let names: Vec<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, STEPS);
    let phases: BTreeSet<_> = steps.iter().filter_map(|step| step["phase"].as_u64()).collect();
    assert_eq!(phases, (1..=4).collect());
    for step in steps {
        for field in ["who", "what", "chapter"] {
            assert!(step[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {step}");
        }
        let knows = step["knows"].as_object().is_some_and(|knows| !knows.is_empty());
        assert!(step["seconds"].is_number() && knows, "it says who knows what: {step}");
    }
}
