//! The `pki` command: makes and shows the keys, certificates and lists that the exchange runs on.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
