//! What a phone does with a list: it believes its own authority's key, and nobody else.

use pki::sign::VerifyingKey;
use proto::ids::Authority;
use proto::malformed::Malformed;

use super::entry::ListKind;
use super::increment::{Checked, Forged, Increment};

/// How far a phone has read a list.
#[derive(Debug, Clone)]
pub struct Reader {
    kind: ListKind,
    authority: Authority,
    key: VerifyingKey,
    last: u32,
    hash: [u8; 32],
}

/// Why a phone does not take an answer. What came before the wrong increment is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The octets are no increments.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Somebody else signed it.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// A good increment of something else.
    #[error("the increment belongs to another list or authority")]
    OtherList,
    /// An increment that was read before, or one before it.
    #[error("increment {found} comes after {last}; numbers only grow")]
    Backwards {
        /// Its number.
        found: u32,
        /// The last one that was read.
        last: u32,
    },
    /// Somebody on the way left increments out, or the phone was away for more than 15 days: it begins at 0.
    #[error("increment {found} comes after {last}; what is between them is missing, so begin at 0")]
    Gap {
        /// Its number.
        found: u32,
        /// The last one that was read.
        last: u32,
    },
    /// The authority signed two different lists, or the one before was another.
    #[error("increment {number} does not follow the one before it")]
    Forked {
        /// Its number.
        number: u32,
    },
}

impl Reader {
    /// Reads a list from its beginning.
    #[must_use]
    pub fn new(kind: ListKind, authority: Authority, key: VerifyingKey) -> Self {
        Self { kind, authority, key, last: 0, hash: [0; 32] }
    }

    /// Goes on behind an increment that was read before.
    #[must_use]
    pub fn behind(self, last: u32, hash: [u8; 32]) -> Self {
        Self { last, hash, ..self }
    }

    /// The number to ask for, and the hash that the next one must follow.
    #[must_use]
    pub fn place(&self) -> (u32, [u8; 32]) {
        (self.last, self.hash)
    }

    /// Checks an answer, and shows each increment of it in its order.
    pub fn read(&mut self, mut answer: &[u8], mut visit: impl FnMut(&Checked<'_>)) -> Result<(), Refused> {
        while let Some((length, rest)) = answer.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (octets, rest) = rest
                .split_at_checked(length)
                .ok_or(Malformed::Truncated { what: "list", missing: length.saturating_sub(rest.len()) })?;
            let checked = self.check(octets)?;
            visit(&checked);
            (self.last, self.hash) = (checked.head.number, checked.hash);
            answer = rest;
        }
        match answer.len() {
            0 => Ok(()),
            extra => Err(Malformed::Trailing { what: "list", extra }.into()),
        }
    }

    fn check<'a>(&self, octets: &'a [u8]) -> Result<Checked<'a>, Refused> {
        let checked = Increment::parse(octets)?.check(&self.key)?;
        let head = &checked.head;
        if head.kind != self.kind || head.parameters.authority != self.authority {
            return Err(Refused::OtherList);
        }
        if head.number <= self.last {
            return Err(Refused::Backwards { found: head.number, last: self.last });
        }
        // Only a phone that begins may find that the beginning is over; later a gap hides something.
        if head.number > self.last + 1 && self.last > 0 {
            return Err(Refused::Gap { found: head.number, last: self.last });
        }
        if head.number == self.last + 1 && head.previous != self.hash {
            return Err(Refused::Forked { number: head.number });
        }
        Ok(checked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::super::increment::testing::{head, key};
    use super::super::increment::{Head, Sealed};
    use super::*;

    fn framed(sealed: &[&Sealed]) -> Vec<u8> {
        let framed = sealed.iter().flat_map(|sealed| {
            let length = u32::try_from(sealed.octets.len()).unwrap().to_be_bytes();
            [&length[..], &sealed.octets].concat()
        });
        framed.collect()
    }

    fn reader(key: &VerifyingKey) -> Reader {
        Reader::new(ListKind::Contacts, "826/0".parse().unwrap(), *key)
    }

    #[test]
    fn increments_are_read_in_their_order_and_once() {
        let key = key();
        let one = head(1, [0; 32]).seal(&[Entry::new([1; 40])], &key);
        let two = head(2, one.hash).seal(&[Entry::new([2; 40])], &key);
        let mut reader = reader(key.public());
        let mut seen = Vec::new();
        reader.read(&framed(&[&one, &two]), |increment| seen.extend(increment.entries())).unwrap();
        assert_eq!(seen, [Entry::new([1; 40]), Entry::new([2; 40])]);
        assert_eq!(reader.place(), (2, two.hash));
        assert_eq!(reader.read(&framed(&[&two]), |_| ()), Err(Refused::Backwards { found: 2, last: 2 }));
        assert_eq!(reader.read(&[], |_| ()), Ok(()));
        let four = head(4, [7; 32]).seal(&[], &key);
        assert_eq!(reader.read(&framed(&[&four]), |_| ()), Err(Refused::Gap { found: 4, last: 2 }));
        let mut fresh = Reader::new(ListKind::Contacts, "826/0".parse().unwrap(), *key.public());
        fresh.read(&framed(&[&four]), |_| ()).expect("1 to 3 were removed after their time");
    }

    #[test]
    fn every_other_list_is_refused() {
        let (key, other) = (key(), key());
        let refusal = |sealed: &Sealed| reader(key.public()).read(&framed(&[sealed]), |_| ()).unwrap_err();
        assert_eq!(refusal(&head(1, [0; 32]).seal(&[], &other)), Refused::Forged(Forged));
        let venues = Head { kind: ListKind::Venues, ..head(1, [0; 32]) };
        assert_eq!(refusal(&venues.seal(&[], &key)), Refused::OtherList);
        let mut elsewhere = head(1, [0; 32]);
        elsewhere.parameters.authority = "826/1".parse().unwrap();
        assert_eq!(refusal(&elsewhere.seal(&[], &key)), Refused::OtherList);
        assert_eq!(refusal(&head(1, [1; 32]).seal(&[], &key)), Refused::Forked { number: 1 });
    }

    #[test]
    fn an_answer_that_breaks_off_is_refused_and_what_stands_before_the_break_is_taken() {
        let key = key();
        let one = head(1, [0; 32]).seal(&[], &key);
        let two = head(2, one.hash).seal(&[], &key);
        let whole = framed(&[&one, &two]);
        let first = framed(&[&one]).len();
        for end in (1..whole.len()).filter(|end| *end != first) {
            let mut reader = reader(key.public());
            assert!(matches!(reader.read(&whole[..end], |_| ()), Err(Refused::Malformed(_))), "{end}");
            assert_eq!(reader.place().0, u32::from(end > first), "{end}");
        }
    }
}
