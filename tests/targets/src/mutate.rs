//! Mutations of good octets, as a fuzzer makes them, always the same for a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// No mutation is longer.
const LONGEST: usize = 16 * 1024;
/// Numbers at which parsers break.
const NUMBERS: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff];

/// An endless source of mutations of a corpus.
pub struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    random: StdRng,
}

impl<'a> Mutator<'a> {
    /// Of a corpus that is not empty.
    #[must_use]
    pub fn new(corpus: &'a [Vec<u8>], seed: u64) -> Self {
        Self { corpus, random: StdRng::seed_from_u64(seed) }
    }

    /// One to four changes of one of the corpus.
    pub fn another(&mut self) -> Vec<u8> {
        let mut octets = self.one().to_vec();
        octets.truncate(LONGEST);
        for _ in 0..self.random.random_range(1..=4) {
            self.change(&mut octets);
        }
        octets
    }

    fn one(&mut self) -> &'a [u8] {
        &self.corpus[self.random.random_range(0..self.corpus.len())]
    }

    fn change(&mut self, octets: &mut Vec<u8>) {
        let at = self.random.random_range(0..=octets.len());
        let end = self.random.random_range(at..=octets.len().min(at + 64));
        match self.random.random_range(0..8) {
            0 => octets.truncate(at),
            1 => drop(octets.drain(at..end)),
            2 => {
                let part = octets[at..end].to_vec();
                octets.splice(at..at, part);
            }
            3 => {
                let number = NUMBERS[self.random.random_range(0..NUMBERS.len())].to_be_bytes();
                let octet = self.random.random_range(0..4);
                overwrite(octets, at, &number[octet..]);
            }
            4 => {
                let other = self.one();
                let from = self.random.random_range(0..=other.len());
                octets.truncate(at);
                octets.extend_from_slice(&other[from..]);
            }
            5 => octets.insert(at, self.random.random()),
            6 => {
                let octet = self.random.random();
                overwrite(octets, at, &[octet]);
            }
            _ => {
                if let Some(octet) = octets.get_mut(at) {
                    *octet ^= 1 << self.random.random_range(0..8);
                }
            }
        }
    }
}

fn overwrite(octets: &mut [u8], at: usize, with: &[u8]) {
    octets[at..].iter_mut().zip(with).for_each(|(octet, new)| *octet = *new);
}
