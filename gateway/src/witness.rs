//! How far our numbers have been, written down beside an embedded store: an older copy of the store that is put in its
//! place would use them again, and nothing in it shows that.
//!
//! The file is a few seconds behind the store and never ahead of it. A database that replicas share has its own guards.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pki::disk::{self, DiskError};
use proto::ids::CountryCode;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::names;
use crate::node::Node;
use crate::store::{Store, StoreError};

/// The file below the state folder: a line for each country, `250 17`.
const FILE: &str = "numbers";
/// The most octets of it: a line has 25 at most, and there are a thousand country codes.
const LIMIT: usize = 64 << 10;
const EVERY: Duration = Duration::from_secs(2);

/// Writes the numbers down whenever they have grown, until the stop and once more then.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    if node.config.store.folder().is_none() {
        stop.cancelled().await;
        return;
    }
    let mut written = BTreeMap::new();
    loop {
        let is_last = stop.is_cancelled();
        match given(&*node.store).await {
            Ok(numbers) if numbers != written => match write(&node.config.state, &numbers) {
                Ok(()) => written = numbers,
                Err(cause) => warn!(%cause, "the numbers given could not be written down; it is tried again"),
            },
            // A store that is closed has been written down before.
            Ok(_) | Err(_) => {}
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// The last number of each outbox.
async fn given(store: &dyn Store) -> Result<BTreeMap<CountryCode, u64>, StoreError> {
    let streams = store.streams().await?.into_iter();
    let outboxes = streams.filter_map(|stream| Some((names::outbox_country(stream)?, stream)));
    Ok(outboxes.map(|(country, stream)| (country, store.tail(stream).borrow().last)).collect())
}

/// Writes numbers down below a state folder.
pub fn write(state: &Path, numbers: &BTreeMap<CountryCode, u64>) -> Result<(), DiskError> {
    disk::replace_public(&state.join(FILE), text(numbers).as_bytes())
}

/// A line for each country.
#[must_use]
pub fn text(numbers: &BTreeMap<CountryCode, u64>) -> String {
    numbers.iter().map(|(country, last)| format!("{country} {last}\n")).collect()
}

/// What is written down; nothing if there is no file.
pub fn read(state: &Path) -> Result<BTreeMap<CountryCode, u64>, DiskError> {
    match disk::read(&state.join(FILE), LIMIT) {
        Ok(octets) => Ok(parse(&String::from_utf8_lossy(&octets))),
        Err(DiskError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(BTreeMap::new())
        }
        Err(cause) => Err(cause),
    }
}

/// The numbers of a text; lines that do not parse say nothing.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<CountryCode, u64> {
    let parsed = text.lines().filter_map(|line| {
        let (country, last) = line.split_once(' ')?;
        Some((country.parse().ok()?, last.parse().ok()?))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        let numbers: BTreeMap<CountryCode, u64> =
            [(CountryCode::new(250).unwrap(), 17), (CountryCode::new(36).unwrap(), u64::MAX)].into();
        write(folder.path(), &numbers).unwrap();
        assert_eq!(read(folder.path()).unwrap(), numbers);
        fs::write(folder.path().join(FILE), "250 seventeen\n\n36\n826 3\n").unwrap();
        assert_eq!(read(folder.path()).unwrap().into_values().collect::<Vec<_>>(), [3]);
    }
}
