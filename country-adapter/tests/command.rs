//! The command as a person or a service manager meets it.

use std::process::{Command, Output};

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
