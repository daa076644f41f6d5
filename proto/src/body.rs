//! The plaintext of a push and of a batch: reports, each behind a `u16` length, and in a batch padding behind them.

use crate::limits;
use crate::malformed::Malformed;
use crate::octets::{Reader, put_framed};

/// Appends one encoded report of 1 to 2,048 octets.
pub fn put_report(body: &mut Vec<u8>, report: &[u8]) -> Result<(), Malformed> {
    check_report(report)?;
    put_framed(body, report);
    Ok(())
}

/// The octets that a report of this length takes in a body.
#[must_use]
pub fn framed_len(report: usize) -> usize {
    2 + report
}

/// Fills a batch's plaintext with zeros up to its size bucket.
pub fn pad(body: &mut Vec<u8>) {
    body.resize(bucket(body.len()), 0);
}

/// Padmé: the next length whose binary form ends in as many zeros as hides all but its magnitude (Nikitin et al.,
/// "Reducing metadata leakage from encrypted files", PETS 2019). At most 12 % more, and less for long bodies.
#[must_use]
pub fn bucket(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - kept.min(exponent))) - 1;
    (len + mask) & !mask
}

/// The reports of a body, one after the other. Whatever is wrong comes as the last item.
pub struct Reports<'a> {
    reader: Reader<'a>,
    padding: Padding,
    done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    None,
    Zeros,
}

impl<'a> Reports<'a> {
    /// Of a push: nothing but reports.
    #[must_use]
    pub fn of_push(body: &'a [u8]) -> Self {
        Self { reader: Reader::new("push body", body), padding: Padding::None, done: false }
    }

    /// Of a batch: reports, then zeros.
    #[must_use]
    pub fn of_batch(body: &'a [u8]) -> Self {
        Self { reader: Reader::new("batch body", body), padding: Padding::Zeros, done: false }
    }

    #[inline]
    fn read(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.reader.is_done() || self.is_padding()? {
            return Ok(None);
        }
        let report = self.reader.framed()?;
        check_report(report)?;
        Ok(Some(report))
    }

    // No report is empty, so a length of zero begins the padding.
    #[inline]
    fn is_padding(&self) -> Result<bool, Malformed> {
        let rest = self.reader.rest();
        if self.padding == Padding::None || rest.iter().take(2).any(|octet| *octet != 0) {
            return Ok(false);
        }
        if rest.iter().any(|octet| *octet != 0) {
            return Err(Malformed::Field { field: "padding", reason: "it must be zeros" });
        }
        Ok(true)
    }
}

impl<'a> Iterator for Reports<'a> {
    type Item = Result<&'a [u8], Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let read = self.read();
        self.done = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

#[inline]
fn check_report(report: &[u8]) -> Result<(), Malformed> {
    if report.is_empty() || report.len() > limits::REPORT_LEN {
        return Err(Malformed::Bounds {
            field: "report",
            is: report.len(),
            least: 1,
            most: limits::REPORT_LEN,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(reports: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for report in reports {
            put_report(&mut body, report).unwrap();
        }
        body
    }

    #[test]
    fn a_bucket_is_at_most_12_percent_over() {
        for len in 1..100_000 {
            let padded = bucket(len);
            assert!(padded >= len && (padded - len) * 100 <= len * 12, "{len} -> {padded}");
        }
        // Worked by hand: 2^16 < 100,000 keeps 5 of 16 bits, so it rounds up to a multiple of 2^11.
        assert_eq!(bucket(100_000), 49 * 2048);
    }

    #[test]
    fn few_sizes_are_seen_from_outside() {
        let sizes: std::collections::BTreeSet<_> = (1..=100_000).map(bucket).collect();
        assert!(sizes.len() < 320, "{}", sizes.len());
    }

    #[test]
    fn a_report_has_1_to_2048_octets() {
        assert!(put_report(&mut Vec::new(), &[]).is_err());
        assert!(put_report(&mut Vec::new(), &[1; 2048]).is_ok());
        assert!(put_report(&mut Vec::new(), &[1; 2049]).is_err());
        assert!(Reports::of_push(&[0, 0]).next().unwrap().is_err());
    }

    #[test]
    fn padding_that_is_not_zero_is_refused() {
        let mut octets = body(&[vec![1; 40]]);
        octets.extend([0, 0, 0, 1]);
        let read: Vec<_> = Reports::of_batch(&octets).collect();
        assert!(read[0].is_ok() && read[1].is_err());
    }

    #[test]
    fn a_truncated_report_ends_the_reading_with_an_error() {
        let octets = body(&[vec![1; 40], vec![2; 40]]);
        let read: Vec<_> = Reports::of_push(&octets[..80]).collect();
        assert_eq!(read.len(), 2);
        assert!(read[1].is_err());
    }

    proptest! {
        #[test]
        fn reports_come_back_as_they_went_in(
            reports in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..30)
        ) {
            let mut octets = body(&reports);
            let plain: Result<Vec<_>, _> = Reports::of_push(&octets).map(|read| read.map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(&plain.unwrap(), &reports);
            pad(&mut octets);
            let padded: Result<Vec<_>, _> = Reports::of_batch(&octets).map(|read| read.map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(&padded.unwrap(), &reports);
        }

        #[test]
        fn octets_from_anywhere_never_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reports::of_push(&octets).count() + Reports::of_batch(&octets).count();
        }
    }
}
