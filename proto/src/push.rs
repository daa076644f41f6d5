//! A push: headers that the gateway reads, side by side, and the reports sealed in one piece behind them.

use bytes::Bytes;

use crate::body;
use crate::header::EnvelopeHeader;
use crate::ids::{Authority, KeyId, PushId};
use crate::limits;
use crate::malformed::Malformed;
use crate::wiped::Wiped;
use crate::wire;

/// A push whose outer fields have the right sizes. Nothing is known yet of what is sealed.
#[derive(Clone)]
pub struct Push {
    /// Names it for the pushing authority.
    pub id: PushId,
    /// The ingress key that it is sealed to.
    pub key: KeyId,
    /// HPKE encapsulated key.
    pub enc: Bytes,
    /// `5 n` octets, 1 <= n <= 5,000.
    headers: Bytes,
    /// HPKE ciphertext of [`body`] with n reports; 4 MiB at most.
    pub sealed: Bytes,
}

impl Push {
    /// Checks sizes, before anything else is done with a message.
    pub fn parse(message: wire::PushRequest) -> Result<Self, Malformed> {
        let wire::PushRequest { push_id, key_id, enc, headers, sealed } = message;
        let envelopes = headers.len() / EnvelopeHeader::LEN;
        if headers.len() % EnvelopeHeader::LEN != 0 {
            return Err(Malformed::Length { field: "headers", is: headers.len(), must: "a multiple of 5" });
        }
        if !(1..=limits::ENVELOPES_PER_PUSH).contains(&envelopes) {
            let (least, most) = (EnvelopeHeader::LEN, limits::ENVELOPES_PER_PUSH * EnvelopeHeader::LEN);
            return Err(Malformed::Bounds { field: "headers", is: headers.len(), least, most });
        }
        if sealed.len() > limits::PUSH_LEN {
            return Err(Malformed::Bounds {
                field: "sealed",
                is: sealed.len(),
                least: 0,
                most: limits::PUSH_LEN,
            });
        }
        Ok(Self { id: PushId::parse(&push_id)?, key: KeyId::parse(&key_id)?, enc, headers, sealed })
    }

    /// What a sender puts on the wire.
    #[must_use]
    pub fn into_wire(self) -> wire::PushRequest {
        wire::PushRequest {
            push_id: Bytes::copy_from_slice(self.id.octets()),
            key_id: Bytes::copy_from_slice(self.key.octets()),
            enc: self.enc,
            headers: self.headers,
            sealed: self.sealed,
        }
    }

    /// How many envelopes it carries.
    #[must_use]
    pub fn envelopes(&self) -> usize {
        self.headers.len() / EnvelopeHeader::LEN
    }

    /// The headers as they came, five octets each, not yet parsed.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.headers.chunks_exact(EnvelopeHeader::LEN)
    }

    /// What the seal is bound to; see [`aad`].
    #[must_use]
    pub fn aad(&self, pusher: Authority) -> Vec<u8> {
        aad(&self.id, &self.key, pusher, &self.headers)
    }
}

/// The AAD of a push: push id 16, key id 8, pushing authority 5, then all headers.
// Whoever edits a route, or passes a push off as another authority's, makes it unopenable.
#[must_use]
pub fn aad(id: &PushId, key: &KeyId, pusher: Authority, headers: &[u8]) -> Vec<u8> {
    [id.octets().as_slice(), key.octets(), &pusher.octets(), headers].concat()
}

/// Reports gathered for one push, until it is full. They are wiped when they are dropped.
#[derive(Default)]
pub struct Draft {
    headers: Vec<u8>,
    body: Wiped,
}

impl Draft {
    /// Octets that a seal adds: the tag of AES-GCM.
    const SEAL_OVERHEAD: usize = 16;
    /// Octets of the first buffer: what 1,000 reports of 200 octets need, and far more than one report.
    const FIRST: usize = 256 << 10;

    /// Whether a report of this length still fits.
    #[must_use]
    pub fn has_room(&self, report: usize) -> bool {
        self.envelopes() < limits::ENVELOPES_PER_PUSH
            && self.body.len() + body::framed_len(report) + Self::SEAL_OVERHEAD <= limits::PUSH_LEN
    }

    /// Adds an encoded report under its header. Ask [`Draft::has_room`] first.
    pub fn add(&mut self, header: &EnvelopeHeader, report: &[u8]) -> Result<(), Malformed> {
        let needed = body::framed_len(report.len()) + Self::SEAL_OVERHEAD;
        self.body.reserve(if self.body.is_empty() { Self::FIRST } else { needed });
        body::put_report(&mut self.body, report)?;
        self.headers.extend_from_slice(&header.octets());
        Ok(())
    }

    /// How many were added.
    #[must_use]
    pub fn envelopes(&self) -> usize {
        self.headers.len() / EnvelopeHeader::LEN
    }

    /// Headers and plaintext body.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Wiped) {
        (self.headers, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: usize, sealed: usize) -> wire::PushRequest {
        wire::PushRequest {
            push_id: vec![1; 16].into(),
            key_id: vec![2; 8].into(),
            enc: vec![3; 65].into(),
            headers: vec![4; headers].into(),
            sealed: vec![5; sealed].into(),
        }
    }

    fn refusal(message: wire::PushRequest) -> String {
        Push::parse(message).err().expect("refused").to_string()
    }

    #[test]
    fn a_push_holds_1_to_5000_envelopes() {
        assert_eq!(Push::parse(message(5, 30)).ok().unwrap().envelopes(), 1);
        assert_eq!(Push::parse(message(25_000, 30)).ok().unwrap().envelopes(), 5_000);
        assert_eq!(refusal(message(25_005, 30)), "headers is 25005 octets long; it must be 5 to 25000");
        assert_eq!(refusal(message(0, 30)), "headers is 0 octets long; it must be 5 to 25000");
        assert_eq!(refusal(message(6, 30)), "headers is 6 octets long; it must be a multiple of 5");
    }

    #[test]
    fn a_push_holds_4_mib_and_not_one_octet_more() {
        assert!(Push::parse(message(5, 4 << 20)).is_ok());
        assert_eq!(
            refusal(message(5, (4 << 20) + 1)),
            "sealed is 4194305 octets long; it must be 0 to 4194304"
        );
    }

    #[test]
    fn a_draft_never_outgrows_a_push() {
        let header = EnvelopeHeader::parse(&[0x10, 3, 0x3a, 0, 1]).unwrap();
        let mut draft = Draft::default();
        while draft.has_room(2_048) {
            draft.add(&header, &[9; 2_048]).unwrap();
        }
        let (headers, body) = draft.into_parts();
        assert!(body.len() + 16 <= limits::PUSH_LEN && body.len() + 16 + 2_050 > limits::PUSH_LEN);
        assert!(headers.len() / 5 < 5_000);
    }
}
