//! Reading and writing of big-endian octet layouts, never past the end.

use crate::malformed::Malformed;

/// What is left of some octets from outside, and what they are called in errors.
///
/// Its functions, and those that read a report with them, are inlined: a `Result` with a [`Malformed`] is handed over
/// in memory, which takes longer than to read a field.
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first octet of `what`.
    #[must_use]
    #[inline]
    pub fn new(what: &'static str, octets: &'a [u8]) -> Self {
        Self { what, rest: octets }
    }

    /// The next `len` octets.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let short = || Malformed::Truncated { what: self.what, missing: len.saturating_sub(self.rest.len()) };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` octets.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        Ok(<[u8; N]>::try_from(taken).expect("take gives as many octets as were asked for"))
    }

    /// The next octet.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// The next two octets.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four octets.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight octets.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `u16` length and as many octets.
    #[inline]
    pub fn framed(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Whether everything was read.
    #[must_use]
    #[inline]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    #[must_use]
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    #[inline]
    pub fn finish(self) -> Result<(), Malformed> {
        if self.is_done() {
            return Ok(());
        }
        Err(Malformed::Trailing { what: self.what, extra: self.rest.len() })
    }
}

/// Appends a `u16` length and the octets. The caller's type bounds the length; longer is its mistake.
pub(crate) fn put_framed(out: &mut Vec<u8>, octets: &[u8]) {
    let len = u16::try_from(octets.len()).expect("the type of every framed field bounds it below 65,536");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(octets);
}
