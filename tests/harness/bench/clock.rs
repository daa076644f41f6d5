//! The clock that all processes of a machine share, and the time that a thread has worked.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since the machine started: the same in every process.
#[must_use]
pub fn now() -> u64 {
    let since = duration(clock_gettime(ClockId::Monotonic));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How long this thread has kept a core busy.
#[must_use]
pub(super) fn worked() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn duration(time: Timespec) -> Duration {
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_work() {
        let (began, worked_before) = (now(), worked());
        std::thread::sleep(Duration::from_millis(30));
        assert!(now() - began >= 30_000_000);
        assert!(worked() - worked_before < Duration::from_millis(30));
    }
}
