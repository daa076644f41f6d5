//! The command as a person or a service manager meets it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

fn country_adapter(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_country-adapter"))
        .args(arguments)
        .output()
        .expect("cargo has built the command")
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&[][..], &["fly"], &["run"], &["check", "a", "b"]] {
        assert_eq!(country_adapter(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_invalid_configuration_ends_with_3_and_shows_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.toml");
    std::fs::write(&path, "authority = \"826\"\n").unwrap();
    for command in ["run", "check"] {
        let output = country_adapter(&[command, path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3));
        let shown = error_of(&output);
        assert!(shown.contains("`826` is no authority") && shown.contains("authority = \"826\""), "{shown}");
        let output = country_adapter(&[command, "/nowhere/adapter.toml"]);
        assert_eq!(output.status.code(), Some(3));
        assert!(error_of(&output).contains("cannot read /nowhere/adapter.toml"));
    }
}

#[test]
fn a_configuration_that_hands_reports_to_nobody_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.toml");
    let example = include_str!("../../deploy/country-adapter.example.toml");
    let lines = example.lines().filter(|line| !line.starts_with("delivered"));
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let output = country_adapter(&["run", path.to_str().unwrap()]);
    let shown = error_of(&output);
    assert_eq!(output.status.code(), Some(3), "{shown}");
    assert!(shown.contains("`delivered` is missing") && shown.contains("name the folder"), "{shown}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_words_of_the_operating_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.toml");
    let example = include_str!("../../deploy/country-adapter.example.toml");
    let state = folder.path().join("state");
    std::fs::write(&path, example.replace("/var/lib/country-adapter", state.to_str().unwrap())).unwrap();
    for command in ["run", "check"] {
        let output = country_adapter(&[command, path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3));
        // Long lines are broken.
        let shown = error_of(&output).replace('│', " ");
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains("No such file or directory"), "{shown}");
    }
}

#[test]
fn help_version_and_completions_are_there() {
    for (arguments, says) in [
        (&["--help"][..], "Exit codes:"),
        (&["--version"], "country-adapter "),
        (&["run", "--help"], "Example:"),
        (&["check", "--help"], "Example:"),
        (&["completions", "--help"], "Example:"),
        (&["completions", "bash"], "complete -F"),
    ] {
        let output = country_adapter(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(says), "{arguments:?}");
    }
}

/// The decentralised example in a folder, with second degree or without.
fn second_degree(folder: &Path, enabled: bool) -> String {
    let example = include_str!("../../deploy/country-adapter.decentralised.example.toml");
    let state = folder.join("state").display().to_string();
    let text = example.replace("/var/lib/country-adapter", &state);
    assert!(text.contains(&state) && text.contains("enabled = false"));
    let path = folder.join("adapter.toml");
    let text = text.replace("enabled = false", &format!("enabled = {enabled}"));
    std::fs::write(&path, text).expect("the folder is there");
    path.display().to_string()
}

#[test]
fn second_degree_is_off_unless_a_line_turns_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = second_degree(folder.path(), false);
    let number = "00000000000000ff";
    let sign_off = ["advice", "sign-off", &config, number, "--advice", "super-spreader", "--by", "A"];
    for arguments in [
        &["advice", "candidates", &config][..],
        &sign_off,
        &["advice", "list", &config],
        &["case-code", "create", &config, "--second-degree"],
    ] {
        let refused = country_adapter(arguments);
        let says = error_of(&refused);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {says}");
        assert!(
            says.contains("second degree is off; set second_degree.enabled = true"),
            "{arguments:?}: {says}"
        );
    }
    assert!(!folder.path().join("state/second-degree").exists());
    let text = std::fs::read_to_string(&config).unwrap().replace("enabled = false", "enabled = true");
    let text = text.replace("[secured]", "").replace("tokens_per_origin_and_day = 400000", "");
    std::fs::write(&config, text).unwrap();
    let refused = country_adapter(&["advice", "candidates", &config]);
    assert_eq!(refused.status.code(), Some(3), "{}", error_of(&refused));
    assert!(error_of(&refused).contains("add [secured] and [lists]"), "{}", error_of(&refused));
}

#[test]
fn an_operator_sees_a_candidate_signs_it_off_once_and_finds_it_in_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let config = second_degree(folder.path(), true);
    let edges = folder.path().join("state/second-degree/edges");
    std::fs::create_dir_all(&edges).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let today = u16::try_from(now / 86_400).unwrap().to_be_bytes();
    for case in 1..=5_u8 {
        let contact = [&[9; 16][..], &[case; 16], &[0, 0, 0, case], &today, &[0, 60]].concat();
        std::fs::write(edges.join(format!("{case}.edges")), contact).unwrap();
    }
    let shown = country_adapter(&["advice", "candidates", &config, "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["candidates"][0]["cases"], &shown["overview"]["cases"]), (&5.into(), &5.into()));
    let number = shown["candidates"][0]["number"].as_str().unwrap();
    let for_people = country_adapter(&["advice", "candidates", &config]);
    let for_people = String::from_utf8_lossy(&for_people.stdout).into_owned();
    assert!(for_people.contains(number) && for_people.contains("phones fewer than 5"), "{for_people}");

    let sign_off = ["advice", "sign-off", &config, number, "--advice", "super-spreader", "--by", "Dr. A"];
    let signed = country_adapter(&sign_off);
    assert_eq!(signed.status.code(), Some(0), "{}", error_of(&signed));
    let again = country_adapter(&sign_off);
    assert_eq!(again.status.code(), Some(1));
    assert!(error_of(&again).contains("was signed off by Dr. A"), "{}", error_of(&again));
    let listed = country_adapter(&["advice", "list", &config]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(number) && listed.contains("Dr. A") && listed.lines().count() == 1, "{listed}");
    let waiting = std::fs::read_dir(folder.path().join("state/postings")).unwrap().count();
    assert_eq!(waiting, 1, "one entry waits to be posted");
}
