//! A panic is a defect of ours: it fails the call in which it happens, it is counted, and it says nothing of a payload.

use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::LazyLock;
use std::task::Poll;

use prometheus_client::metrics::counter::Counter;
use tracing::error;

/// All panics of this process, in whatever thread.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The call panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a defect of the gateway ended the call; its log says where")]
pub struct Panicked;

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
        error!(place, message = literal(info), "PANIC: a defect; only what it happened in has failed");
    }));
}

/// A message that stands in the code. One that was put together could hold what must not be in a log.
fn literal(info: &PanicHookInfo<'_>) -> &'static str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("not shown: it may hold data")
}

/// Polls a call so that a panic in it ends it alone.
pub async fn contained<T>(call: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut call = Box::pin(call);
    poll_fn(|context| {
        // The call is dropped after a panic and never polled again.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
        polled.map_or(Poll::Ready(Err(Panicked)), |polled| polled.map(Ok))
    })
    .await
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::sync::{Mutex, MutexGuard};

    use super::*;

    /// Panics are counted for the whole process: tests that count them take turns.
    static TURN: Mutex<()> = Mutex::const_new(());

    /// Panics are counted until it is dropped.
    pub(crate) struct Watched {
        _turn: MutexGuard<'static, ()>,
    }

    /// From now on panics are counted.
    pub(crate) async fn watched() -> Watched {
        let turn = TURN.lock().await;
        watch();
        Watched { _turn: turn }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            // The hook cannot be changed in a panic.
            if !std::thread::panicking() {
                drop(panic::take_hook());
            }
        }
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_call_and_is_counted() {
        let _watched = watched().await;
        let before = counter().get();
        let bad = contained(async {
            tokio::task::yield_now().await;
            panic!("as a bug would");
        });
        assert_eq!(bad.await, Err::<(), _>(Panicked));
        assert_eq!(contained(async { 7 }).await, Ok(7));
        assert!(counter().get() > before);
    }
}
