//! A panic is a defect of ours: it is counted, and says nothing of a payload. It ends the request that it happens in,
//! or the whole adapter if it happens in one of its loops.

use std::panic::{self, PanicHookInfo};
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use tracing::error;

/// All panics of this process, in whatever thread.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// What counts panics, for the registry of metrics.
#[must_use]
pub fn counter() -> Counter {
    PANICS.clone()
}

/// From now on every panic of this process is counted, and logged with its place in the code.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        PANICS.inc();
        let place = info.location().map(ToString::to_string);
        error!(place, message = literal(info), "PANIC: a defect; what it happened in has failed");
    }));
}

/// A message that stands in the code. One that was put together could hold a report.
fn literal(info: &PanicHookInfo<'_>) -> &'static str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("not shown: it may hold data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_ends_its_own_task_alone() {
        let usual = panic::take_hook();
        watch();
        let before = counter().get();
        let ended = tokio::spawn(async { panic!("as a bug would") }).await;
        panic::set_hook(usual);
        assert!(ended.unwrap_err().is_panic());
        assert!(counter().get() > before);
    }
}
