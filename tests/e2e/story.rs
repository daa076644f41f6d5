//! The story holds, in a form that machines read.

use std::collections::BTreeSet;
use std::process::Stdio;

use harness::binaries::Binaries;
use harness::turn;
use serde_json::Value;

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
    let names: BTreeSet<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names.len(), steps.len(), "every step has a name of its own");
    let phases: BTreeSet<_> = steps.iter().filter_map(|step| step["phase"].as_u64()).collect();
    assert_eq!(phases, (1..=4).collect());
    for step in steps {
        for field in ["who", "what", "chapter"] {
            assert!(step[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {step}");
        }
        assert!(step["seconds"].is_number() && step["knows"].is_object(), "{step}");
    }
}
