//! Standard error: the log, and a progress bar that stays below it.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use country_adapter::config::{LogConfig, LogFormat, LogLevel};
use indicatif::ProgressBar;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The one progress bar; hidden unless standard error is a terminal.
pub(crate) static BAR: LazyLock<ProgressBar> =
    LazyLock::new(
        || {
            if io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() }
        },
    );

/// Sends events of this level and above to standard error. The libraries below tell warnings only, unless `RUST_LOG`
/// says otherwise.
pub(crate) fn log_to_stderr(config: &LogConfig) {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = LevelFilter::WARN.min(level);
    let configured =
        || EnvFilter::new(format!("{libraries},country_adapter={level},pki={level},proto={level}"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| configured());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| AboveBar);
    // A log that cannot be written is told nowhere: to print so where it cannot be printed either would be a panic.
    let log = log.log_internal_errors(false);
    match config.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Writes to standard error while the bar is out of the way.
struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        BAR.suspend(|| io::stderr().write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
