//! What is refused before anything is allocated for it.

/// Envelopes in one push.
pub const ENVELOPES_PER_PUSH: usize = 5_000;
/// Octets of a push's sealed reports.
pub const PUSH_LEN: usize = 4 * 1024 * 1024;
/// Octets of one report.
pub const REPORT_LEN: usize = 2 * 1024;
/// Octets of a batch's sealed body.
pub const BATCH_LEN: usize = 8 * 1024 * 1024;
/// Octets of a page of batches, unless its only batch is longer.
pub const PAGE_LEN: usize = 2 * 1024 * 1024;
/// Octets of a signed key list.
pub const KEY_LIST_LEN: usize = 64 * 1024;
/// Octets of any message on the wire: the longest batch and the fields around it.
pub const MESSAGE_LEN: usize = BATCH_LEN + 64 * 1024;
/// The longest that a pull waits at the tail.
pub const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::batch::SignedBatch;
    use crate::body::{self, Reports};
    use crate::header::{EnvelopeHeader, Frame};
    use crate::malformed::Malformed;
    use crate::push::Push;
    use crate::report::Report;
    use crate::wire;

    fn zeros(octets: usize) -> Bytes {
        vec![0; octets].into()
    }

    fn push(envelopes: usize, sealed: usize) -> Result<(), Malformed> {
        let (push_id, key_id, enc) = (zeros(16), zeros(8), zeros(65));
        let headers = zeros(envelopes * EnvelopeHeader::LEN);
        Push::parse(wire::PushRequest { push_id, key_id, enc, headers, sealed: zeros(sealed) }).map(drop)
    }

    fn batch(sealed: usize) -> Result<(), Malformed> {
        let (manifest, signature, signing_key) = (zeros(200), zeros(64), zeros(8));
        SignedBatch::parse(wire::SignedBatch { manifest, signature, signing_key, sealed: zeros(sealed) })
            .map(drop)
    }

    fn framed(octets: usize) -> Result<(), Malformed> {
        body::put_report(&mut Vec::new(), &zeros(octets))?;
        let length = u16::try_from(octets).expect("short enough").to_be_bytes();
        let body = [length.as_slice(), &vec![1; octets]].concat();
        Reports::of_push(&body).try_for_each(|report| report.map(drop))
    }

    /// A report of zeros is none; only its length is looked at here.
    fn report(octets: usize) -> Result<(), Malformed> {
        match Report::decode(&zeros(octets)) {
            Err(Malformed::Value { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    fn frame(octets: usize) -> Result<(), Malformed> {
        let custom = [vec![0x08, 0x03, 0x3a, 0, 1], vec![7; octets - 5]].concat();
        Frame::parse(&custom).map(drop)
    }

    #[test]
    fn each_limit_holds_at_the_limit_and_not_one_past_it() {
        type Limited = fn(usize) -> Result<(), Malformed>;
        let limits: [(&str, usize, Limited); 6] = [
            ("envelopes of a push", ENVELOPES_PER_PUSH, |n| push(n, 1)),
            ("octets of a push", PUSH_LEN, |n| push(1, n)),
            ("octets of a batch", BATCH_LEN, batch),
            ("octets of a report in a body", REPORT_LEN, framed),
            ("octets of a report", REPORT_LEN, report),
            ("octets of a frame", Frame::MAX_LEN, frame),
        ];
        for (what, most, limited) in limits {
            assert_eq!(limited(most), Ok(()), "{what}: {most}");
            let refused = limited(most + 1).unwrap_err();
            let is_length = matches!(refused, Malformed::Bounds { .. } | Malformed::Length { .. });
            assert!(is_length, "{what}: {} gives {refused}", most + 1);
        }
        assert!(push(0, 1).is_err() && framed(0).is_err());
    }

    #[test]
    fn the_limits_fit_into_each_other() {
        // A whole push becomes batches that fit, and the longest batch fits into a message.
        let longest = ENVELOPES_PER_PUSH * body::framed_len(REPORT_LEN);
        assert!(PUSH_LEN <= longest && body::bucket(PUSH_LEN) + 16 <= BATCH_LEN);
        const { assert!(BATCH_LEN < MESSAGE_LEN && PAGE_LEN < MESSAGE_LEN && KEY_LIST_LEN < MESSAGE_LEN) };
    }
}
