//! A value that is never shown and is wiped when it is dropped.

use zeroize::Zeroize;

/// Holds a secret. It has no `Debug`, no `Display` and no `Clone`.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value over.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Lends the value; the caller must not copy it anywhere that is not wiped.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
