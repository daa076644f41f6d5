//! What the `pki` command takes, and how an outcome becomes an exit code.

mod answer;
mod ca;
mod csr;
mod issue;
mod key;
mod key_list;
mod secrets;
mod show;
mod trust;
mod trust_view;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use answer::{Answer, WrongUsage};

/// Makes and shows the keys, certificates and lists that the exchange runs on.
#[derive(Parser)]
#[command(name = "pki", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed: the message says what to do
  2  wrong usage
  3  checked and found invalid

A country begins with:
  pki ca create --country 826 --out ca --ask-passphrase
  pki key create --kind tls --out gateway.key --passphrase-file passphrase
  pki csr --key gateway.key --passphrase-file passphrase --out gateway.csr
  pki issue --ca ca --csr gateway.csr --role gateway --ask-passphrase --out gateway.crt";

#[derive(Subcommand)]
enum Command {
    /// A country's own certificate authority
    #[command(subcommand)]
    Ca(ca::Command),
    /// Private keys
    #[command(subcommand)]
    Key(key::Command),
    /// Ask for a certificate: makes a certificate signing request for a key
    Csr(csr::Args),
    /// Sign a certificate for the key in a request
    Issue(issue::Args),
    /// Show what a file is: certificate, request, public key, key list or trust list
    Show(show::Args),
    /// The signed list of an authority's or gateway's public HPKE keys
    #[command(subcommand)]
    KeyList(key_list::Command),
    /// The list of countries that the anchors sign
    #[command(subcommand)]
    Trust(trust::Command),
    /// Print a completion script for a shell
    #[command(after_help = "EXAMPLE\n  pki completions bash > /etc/bash_completion.d/pki")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(answer) => answer.print(),
        Err(error) => {
            eprintln!("pki: {}", told(&error));
            ExitCode::from(if error.is::<WrongUsage>() { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<Answer> {
    match command {
        Command::Ca(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Csr(args) => args.run(),
        Command::Issue(args) => args.run(),
        Command::Show(args) => args.run(),
        Command::KeyList(command) => command.run(),
        Command::Trust(command) => command.run(),
        Command::Completions { shell } => Ok(completions(shell)),
    }
}

fn completions(shell: Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pki", &mut script);
    Answer::done(String::from_utf8_lossy(&script).into_owned())
}

/// The error with its causes. A cause that the text before it quotes already is not repeated.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_does_something_shows_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let is_leaf = command.get_subcommands().next().is_none();
            assert!(!is_leaf || help.contains("EXAMPLE"), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no space").context("cannot write a: no space").context("failed");
        assert_eq!(told(&error), "failed: cannot write a: no space");
    }
}
