//! What fills an increment up, so that nobody can count who was exposed.
//!
//! A dummy's token is random and its other fields are those of a real entry, so that only the phone which knows a
//! token can tell. Venues are public anyway; their increments are filled up with zeros.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::entry::{Entry, ListKind};

/// Increments have a multiple of so many entries.
pub(super) const BUCKET: usize = 64;

/// Fills entries up to a multiple of 64, and shuffles them.
pub(super) fn fill(kind: ListKind, entries: &mut Vec<Entry>) {
    let mut random = StdRng::from_os_rng();
    let real = entries.len();
    let missing = real.next_multiple_of(BUCKET) - real;
    let dummies: Vec<_> = (0..missing)
        .filter_map(|_| Some(dummy(kind, entries[..real].choose(&mut random)?, &mut random)))
        .collect();
    entries.extend(dummies);
    entries.shuffle(&mut random);
}

fn dummy(kind: ListKind, like: &Entry, random: &mut StdRng) -> Entry {
    let mut octets = *like.octets();
    match kind {
        ListKind::Contacts => {
            random.fill(&mut octets[..16]);
            random.fill(&mut octets[20..]);
            // A time code has 31 bits.
            octets[20] &= 0x7f;
        }
        ListKind::DailyKeys => random.fill(&mut octets[..32]),
        ListKind::Advice => {
            random.fill(&mut octets[..16]);
            random.fill(&mut octets[20..24]);
            octets[20] &= 0x7f;
        }
        ListKind::Venues => octets = [0; Entry::LEN],
    }
    Entry::new(octets)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_number_of_entries_becomes_a_multiple_of_64_with_all_real_ones_in_it() {
        for kind in ListKind::ALL {
            for real in [1_u8, 2, 63, 64, 65] {
                let originals: Vec<_> = (0..real).map(|number| Entry::new([number; 40])).collect();
                let mut entries = originals.clone();
                fill(kind, &mut entries);
                assert_eq!(entries.len(), usize::from(real).next_multiple_of(BUCKET));
                assert!(originals.iter().all(|entry| entries.contains(entry)), "{kind:?}");
            }
        }
        let mut nothing = Vec::new();
        fill(ListKind::Contacts, &mut nothing);
        assert!(nothing.is_empty(), "nothing is posted when there is nothing");
    }

    #[test]
    fn a_dummy_is_a_plausible_entry_with_a_token_of_its_own() {
        let mut like = [7; 40];
        like[20] = 0x70;
        let mut entries = vec![Entry::new(like)];
        fill(ListKind::Contacts, &mut entries);
        let (first, subtotal) = Entry::new(like).as_contact().unwrap();
        for entry in &entries {
            let (contact, of_it) = entry.as_contact().expect("a time code of 31 bits");
            assert_eq!((contact.day, of_it), (first.day, subtotal));
        }
        let tokens: HashSet<_> = entries.iter().map(Entry::token).collect();
        assert_eq!(tokens.len(), BUCKET);
    }

    #[test]
    fn the_order_is_another_one_each_time() {
        let originals: Vec<_> = (0..64).map(|number| Entry::new([number; 40])).collect();
        let (mut one, mut other) = (originals.clone(), originals);
        fill(ListKind::Contacts, &mut one);
        fill(ListKind::Contacts, &mut other);
        assert_ne!(one, other);
    }
}
