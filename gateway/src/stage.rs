//! A stage that ends before it was told to: half a gateway is worse than none, so the whole process ends with it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Starts stages, and knows which of them ended by itself.
#[derive(Clone)]
pub struct Stages {
    tasks: TaskTracker,
    stop: CancellationToken,
    ended: Arc<OnceLock<&'static str>>,
}

impl Stages {
    /// Stages that end with this token, and end it if one of them does not.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), stop, ended: Arc::default() }
    }

    /// The tasks of all stages and connections.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The stage that ended by itself, if one did.
    #[must_use]
    pub fn ended(&self) -> Option<&'static str> {
        self.ended.get().copied()
    }

    /// Runs a stage until `stop`.
    pub fn spawn(
        &self,
        name: &'static str,
        stop: CancellationToken,
        stage: impl Future<Output = ()> + Send + 'static,
    ) {
        let guard = Guard { name, stop, stages: self.clone() };
        self.tasks.spawn(async move {
            let _guard = guard;
            stage.await;
        });
    }
}

/// Dropped when the stage returns, and when it panics.
struct Guard {
    name: &'static str,
    stop: CancellationToken,
    stages: Stages,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.stop.is_cancelled() {
            return;
        }
        error!(
            stage = self.name,
            "a stage ended by itself; the gateway stops, so that it can be started whole"
        );
        let _ = self.stages.ended.set(self.name);
        self.stages.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_that_panics_stops_the_gateway_and_is_named() {
        let stop = CancellationToken::new();
        let stages = Stages::new(stop.clone());
        stages.spawn("good", stop.clone(), stop.clone().cancelled_owned());
        stages.spawn("bad", stop.clone(), async { panic!("as a bug would") });
        stop.cancelled().await;
        assert_eq!(stages.ended(), Some("bad"));
    }

    #[tokio::test]
    async fn a_stage_that_was_stopped_is_no_failure() {
        let stop = CancellationToken::new();
        let stages = Stages::new(stop.clone());
        let own = stop.child_token();
        stages.spawn("one country", own.clone(), own.clone().cancelled_owned());
        own.cancel();
        stages.tasks().close();
        stages.tasks().wait().await;
        assert_eq!(stages.ended(), None);
        assert!(!stop.is_cancelled());
    }
}
