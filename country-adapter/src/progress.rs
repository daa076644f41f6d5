//! Progress through a long backlog: a bar on a terminal, a line in the log every few seconds otherwise.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use country_adapter::counters::Counters;
use indicatif::ProgressStyle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::console::BAR;

/// Fewer envelopes than this are gone before anybody has read a line about them.
const LONG: u64 = 10_000;
const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows the backlog of sealed envelopes until the stop.
pub(crate) async fn show(counters: Arc<Counters>, stop: CancellationToken) {
    let on_terminal = io::stderr().is_terminal();
    let every = if on_terminal { BAR_EVERY } else { LINE_EVERY };
    let style =
        ProgressStyle::with_template("publishing {bar:40} {pos}/{len} envelopes, {per_sec}, {eta} left");
    BAR.set_style(style.expect("the template is a constant that a test renders"));
    let mut shown = Backlog::default();
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        shown.update(counters.snapshot().backlog);
        match (shown.is_long(), on_terminal) {
            (true, true) => {
                BAR.set_length(shown.most);
                BAR.set_position(shown.most - shown.left);
            }
            (true, false) => info!(left = shown.left, of = shown.most, "publishing"),
            (false, _) => BAR.finish_and_clear(),
        }
    }
    BAR.finish_and_clear();
}

/// How much is left of how much, since the backlog was last empty.
#[derive(Default)]
struct Backlog {
    left: u64,
    most: u64,
}

impl Backlog {
    fn update(&mut self, left: u64) {
        self.most = if left == 0 { 0 } else { self.most.max(left) };
        self.left = left;
    }

    fn is_long(&self) -> bool {
        self.most >= LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_long_until_it_is_gone() {
        let mut backlog = Backlog::default();
        backlog.update(LONG - 1);
        assert!(!backlog.is_long());
        backlog.update(LONG);
        backlog.update(1);
        assert!(backlog.is_long() && backlog.left == 1 && backlog.most == LONG);
        backlog.update(0);
        assert!(!backlog.is_long());
    }

    #[test]
    fn the_bar_has_a_template() {
        assert!(
            ProgressStyle::with_template("{bar:40} {pos}/{len} envelopes, {per_sec}, {eta} left").is_ok()
        );
    }
}
