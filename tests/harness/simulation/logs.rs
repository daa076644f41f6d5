//! What a gateway logs, in a file beside its store: one more place where nothing of a report may stand.

use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

thread_local! {
    static GUARD: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Sends what a thread logs from its start on into a file, down to `trace` for our own code.
pub(super) fn into(file: File) -> impl Fn() + Send + Sync + 'static {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("warn,gateway=trace,pki=trace,proto=trace"))
        .with_ansi(false)
        .with_writer(Arc::new(file))
        .finish();
    let dispatch = Dispatch::new(subscriber);
    move || GUARD.with_borrow_mut(|guard| *guard = Some(tracing::dispatcher::set_default(&dispatch)))
}
