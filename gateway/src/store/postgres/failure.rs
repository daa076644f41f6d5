//! What the driver says, sorted by what helps: another try, or a person.

use std::{error::Error as _, time::Duration};

use deadpool_postgres::PoolError;
use rand::Rng;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Error, error::SqlState};

use crate::store::StoreError;

/// The first pause between two tries, and the longest.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// Why one try did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another one may: the line is cut, or the server restarts.
    Away(String),
    /// Another one may: other transactions were in the way.
    Busy(String),
    /// No other one will.
    Lasting(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let cause = text(&error);
        let Some(code) = error.code() else { return Self::Away(cause) };
        if *code == SqlState::DISK_FULL {
            Self::Lasting(StoreError::NoSpace { cause })
        } else if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED {
            Self::Lasting(StoreError::Corrupt { what: format!("the database: {cause}") })
        } else if is_away(code) {
            Self::Away(cause)
        } else if is_busy(code) {
            Self::Busy(cause)
        } else {
            Self::Lasting(StoreError::Database { cause })
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Closed => Self::Lasting(StoreError::Closed),
            other => Self::Away(other.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Lasting(error)
    }
}

/// States in which the server, or the line to it, is about to go or to come back.
fn is_away(code: &SqlState) -> bool {
    let away = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    away.contains(code) || code.code().starts_with("08")
}

/// States in which the same transaction may succeed the next time.
fn is_busy(code: &SqlState) -> bool {
    let busy = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        // Two processes made the same row, or one of them a partition that the other has just dropped.
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::UNDEFINED_TABLE,
        SqlState::CHECK_VIOLATION,
        SqlState::IN_FAILED_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    busy.contains(code)
}

/// The server's message without its detail, which may hold a row; or all causes of a failed connection.
fn text(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// How long something is tried again.
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    /// As long as this.
    pub(super) fn of(time: Duration) -> Self {
        Self { until: Instant::now() + time, pause: FIRST }
    }

    /// Waits before the next try, for a passing failure; gives the error when there is to be none.
    pub(super) async fn again(&mut self, failure: Failure, database: &str) -> Result<(), StoreError> {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        let is_over = Instant::now() + pause >= self.until;
        match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Away(cause) if is_over => {
                return Err(StoreError::Unreachable { database: database.to_owned(), cause });
            }
            Failure::Busy(cause) if is_over => return Err(StoreError::Busy { cause }),
            Failure::Away(_) | Failure::Busy(_) => {}
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST);
        Ok(())
    }
}
