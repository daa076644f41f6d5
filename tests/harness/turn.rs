//! Federations of one process take turns: on a machine that is overloaded, deadlines and delivery times mean nothing.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Federations that run at the same time.
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE as usize);
const AT_ONCE: u32 = 2;

/// The right to run one, until it is dropped.
#[derive(Debug)]
pub struct Turn(
    #[expect(dead_code, reason = "it is given back when it is dropped")] SemaphorePermit<'static>,
);

/// Waits for a turn. [`crate::Builder::start`] does so itself; whoever starts the `federation` command does it here.
pub async fn mine() -> Turn {
    Turn(TURNS.acquire().await.expect("the semaphore is never closed"))
}

/// Waits until nobody else runs one: for what is measured, and what a time is demanded of.
pub async fn alone() -> Turn {
    Turn(TURNS.acquire_many(AT_ONCE).await.expect("the semaphore is never closed"))
}
