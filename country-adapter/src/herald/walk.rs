//! Walks the periods of a published day's key of Herald Simple, for a search that looks at millions of them.
//!
//! The same chain as in `simple`, one block of SHA-256 at a time: the padding stands there from the beginning, a period
//! that nobody asks for costs one hash in the place of two, and nothing is wiped, as the key is public by now.

use proto::report::SimpleKey;
use sha2::block_api::compress256;

/// What SHA-256 begins with (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Octets of a block of SHA-256.
const BLOCK: usize = 64;

/// Where a walk stands: above the last period at first, then above the one before, and so on.
pub(super) struct Walk {
    seed: [u32; 8],
    /// A message of 16 octets, and one of 32.
    half: [u8; BLOCK],
    whole: [u8; BLOCK],
}

impl Walk {
    pub(super) fn new(key: &SimpleKey) -> Self {
        let mut whole = padded::<32>();
        whole[..32].copy_from_slice(key.octets());
        let mut walk = Self { seed: hash(&whole), half: padded::<16>(), whole };
        // The root is for no period.
        walk.skip();
        walk
    }

    /// Passes over a period.
    pub(super) fn skip(&mut self) {
        self.seed = self.before();
    }

    /// The identifier of a period.
    pub(super) fn identifier(&mut self) -> [u8; 16] {
        let before = self.before();
        let mut combined = self.seed;
        combined.iter_mut().zip(before).for_each(|(word, other)| *word ^= other);
        put(&mut self.whole, &combined);
        self.seed = before;
        let key = hash(&self.whole);
        let mut identifier = [0; 16];
        put(&mut identifier, &key[..4]);
        identifier
    }

    /// The seed before: the hash of half of this one.
    fn before(&mut self) -> [u32; 8] {
        put(&mut self.half, &self.seed[..4]);
        hash(&self.half)
    }
}

/// A block that ends as that of a message of so many octets does (FIPS 180-4, 5.1.1).
const fn padded<const LEN: u8>() -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[LEN as usize] = 0x80;
    // 16 and 32 octets have fewer than 65,536 bits.
    [block[BLOCK - 2], block[BLOCK - 1]] = (LEN as u16 * 8).to_be_bytes();
    block
}

fn hash(block: &[u8; BLOCK]) -> [u32; 8] {
    let mut state = INITIAL;
    compress256(&mut state, std::slice::from_ref(block));
    state
}

/// Writes words where a message begins, big endian.
fn put(octets: &mut [u8], words: &[u32]) {
    let (places, _) = octets.as_chunks_mut::<4>();
    places.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simple::identifiers;
    use super::*;

    proptest! {
        #[test]
        fn a_walk_gives_what_the_chain_gives(key in any::<[u8; 32]>(), asked in any::<[bool; 16]>()) {
            let key = SimpleKey::new(key).unwrap();
            let mut walk = Walk::new(&key);
            for (place, identifier) in identifiers(&key).iter().rev().enumerate() {
                if asked[place % asked.len()] {
                    prop_assert_eq!(&walk.identifier(), identifier.octets(), "{} from the end", place);
                } else {
                    walk.skip();
                }
            }
        }
    }
}
