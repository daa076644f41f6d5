//! What the desk has put down for the lists: files of records, a list's number and an entry, 41 octets.

use std::path::{Path, PathBuf};

use super::entry::{Entry, ListKind};

/// Octets of a record.
pub const RECORD: usize = 1 + Entry::LEN;
/// The ending of a file in the queue.
pub const ENDING: &str = ".entries";
/// Behind the name of a file that has other records than ours.
pub const ASIDE: &str = ".damaged";

/// The queue's folder in the adapter's directory.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("postings")
}

/// A record.
#[must_use]
pub fn record(kind: ListKind, entry: &Entry) -> [u8; RECORD] {
    let mut record = [kind.number(); RECORD];
    record[1..].copy_from_slice(entry.octets());
    record
}

/// The records of a file; nothing if it is not made of whole ones of known lists.
#[must_use]
pub fn parse(octets: &[u8]) -> Option<Vec<(ListKind, Entry)>> {
    let (records, rest) = octets.as_chunks::<RECORD>();
    let read = |record: &[u8; RECORD]| {
        let (number, entry) = record.split_first_chunk::<1>()?;
        Some((ListKind::from_number(number[0])?, Entry::new(entry.try_into().ok()?)))
    };
    rest.is_empty().then(|| records.iter().map(read).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_read_back_whole_or_not_at_all() {
        let written = [(ListKind::Contacts, Entry::new([1; 40])), (ListKind::Advice, Entry::new([2; 40]))];
        let octets: Vec<u8> = written.iter().flat_map(|(kind, entry)| record(*kind, entry)).collect();
        assert_eq!(parse(&octets).unwrap(), written);
        for end in (1..octets.len()).filter(|end| end % RECORD != 0) {
            assert!(parse(&octets[..end]).is_none(), "{end}");
        }
        assert!(parse(&[0; RECORD]).is_none(), "no list has the number 0");
        assert!(parse(&[]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_octets_are_records_or_nothing(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(records) = parse(&octets) {
                let again: Vec<u8> = records.iter().flat_map(|(kind, entry)| record(*kind, entry)).collect();
                prop_assert_eq!(again, octets);
            }
        }
    }
}
