//! A federation that goes on: what one can do with it by hand.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::federation::Federation;
use crate::members::authority;
use crate::phones;
use crate::reports::{Contact, today};

/// Commands with real paths: push something, look at what arrived, look at metrics, run a gateway oneself.
pub fn instructions(federation: &Federation) -> Result<String> {
    let (from, to) = (authority("826/1"), authority("250/0"));
    let (sender, receiver) = (federation.adapter(from)?, federation.adapter(to)?);
    let token = phones::met_on(today(), 1)?;
    let line = Contact::simple(to, token.first().context("one was asked for")?, today()).line();
    let (outgoing, delivered) = (sender.outgoing.display(), receiver.delivered.display());
    let mut text = format!(
        "The federation runs in {}\n\n\
         Push a token of {to} from {from}:\n  \
         echo '{line}' > {outgoing}/.mine && mv {outgoing}/.mine {outgoing}/mine.ndjson\n\
         What became of it:\n  cat {outgoing}/answers/mine.*\n\
         What has arrived in {to}:\n  ls -t {delivered} | head -1; tail -n 1 {delivered}/*.ndjson\n\nMetrics:\n",
        federation.folder().display(),
    );
    for (plan, country) in federation.countries() {
        let logs = country.gateway.log.display();
        // Writing into a string cannot fail.
        let _ =
            writeln!(text, "  curl {}    {}; its log is {logs}", country.gateway.metrics_url(), plan.name);
    }
    text.push_str("\nEnd a process and run it yourself; change its configuration before, if you like:\n");
    for (node, launch) in federation.nodes().zip(federation.launches()) {
        let _ = writeln!(text, "  kill {}; {launch}", federation.pid(node)?);
    }
    text.push_str("A gateway of your own: deploy/gateway.example.toml explains each key.\n");
    text.push_str("\nCtrl-C ends it all.");
    Ok(text)
}

/// Waits for SIGINT or SIGTERM.
pub async fn until_interrupted() -> Result<()> {
    interruption()?.await;
    Ok(())
}

/// Takes SIGINT and SIGTERM over from now on, in the runtime that was entered; ends when one of them comes.
pub fn interruption() -> Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
