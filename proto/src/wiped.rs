//! Octets that are wiped when they are dropped.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// A buffer for the plaintext of a whole push or batch.
///
/// `Zeroizing<Vec<u8>>` wipes one octet at a time, which takes longer than to decrypt them; this wipes the whole
/// allocation at once.
#[derive(Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Takes octets over.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// An empty buffer with room for so many octets. A `Vec` that grows by itself leaves copies behind.
    #[must_use]
    pub fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    /// Makes room for so many more octets; what was there until now is wiped.
    pub fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            let mut larger = Self::with_capacity((self.0.len() + more).max(2 * self.0.capacity()));
            larger.0.extend_from_slice(&self.0);
            *self = larger;
        }
    }

    /// Gives the octets away, unwiped: what stands there is secret no more.
    #[must_use]
    pub fn take(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(octets: Vec<u8>) -> Self {
        Self(octets)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // Slices, not the `Vec`: of these `zeroize` has a fast form.
        self.0.as_mut_slice().zeroize();
        self.0.spare_capacity_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_without_losing_what_is_there_and_at_least_doubles() {
        let mut octets = Wiped::default();
        octets.reserve(100);
        octets.extend_from_slice(&[7; 100]);
        let full = octets.capacity();
        octets.reserve(1);
        assert!(octets.capacity() >= 2 * full && **octets == [7; 100]);
        let enough = octets.capacity();
        octets.reserve(enough - octets.len());
        assert_eq!(octets.capacity(), enough);
        assert_eq!(octets.take(), [7; 100]);
    }
}
