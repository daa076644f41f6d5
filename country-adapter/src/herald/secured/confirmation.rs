//! Confirmation tokens: by which a transmitter's phone finds its own contacts in what its authority publishes.
//!
//! A token is a PRF tag over the exchange (`herald.md` D4), so nobody can make one, and it tells nobody anything.
//! The phone keeps what it gave for 15 days, and counts a contact at most once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use hmac::{Hmac, KeyInit, Mac};
use proto::day::Day;
use proto::header::EnvelopeHeader;
use proto::report::Report;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::exchange::Transcript;
use super::totp::{Step, TimeCode};
use super::{ConfirmationToken, Receipt, random};

const LABEL: &[u8] = b"hgw/ect/v1";

/// A phone's key of one day for its confirmation tokens. Never printed, wiped on drop.
pub struct ConfirmationKey(Zeroizing<[u8; 32]>);

impl ConfirmationKey {
    /// A fresh key from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    #[cfg(test)]
    pub(super) fn fixed(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The token for one exchange. The receiver's one-time key, in the request, stands for the receiver (D5).
    #[must_use]
    pub fn token(&self, transcript: &Transcript, step: Step) -> ConfirmationToken {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        mac.update(LABEL);
        mac.update(&Sha256::digest(transcript.request().octets()));
        mac.update(&transcript.header().octets());
        mac.update(transcript.x());
        mac.update(&step.number().to_be_bytes());
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let mut token = [0; ConfirmationToken::LEN];
        token.copy_from_slice(&tag[..ConfirmationToken::LEN]);
        ConfirmationToken::new(token)
    }
}

/// What a phone remembers of an exchange in which it gave a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// When.
    pub step: Step,
    /// The time code that it sealed for its authority.
    pub code: TimeCode,
    /// The header of the receiver's authority.
    pub to: EnvelopeHeader,
    /// What the exchange ended with.
    pub receipt: Receipt,
}

/// What an authority publishes of a contact that counts, without its risk (D15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// By which one phone knows it.
    pub confirmation: ConfirmationToken,
    /// Shows that the phone's authority opened the service token.
    pub code: TimeCode,
    /// Shows who reported the contact.
    pub receipt: Receipt,
    /// The UTC day on which the contact began.
    pub day: Day,
}

/// The tokens that a phone gave. A phone looks every published entry up here, and finds next to none.
#[derive(Default)]
pub struct GivenTokens(HashMap<ConfirmationToken, Given, BuildHasherDefault<Leading>>);

/// A token's first octets are its hash: whoever gave it computed it with a PRF, so nobody can choose where it lies.
#[derive(Default)]
struct Leading(u64);

impl Hasher for Leading {
    fn write(&mut self, octets: &[u8]) {
        if let Some(first) = octets.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl GivenTokens {
    /// Remembers a token.
    pub fn insert(&mut self, token: ConfirmationToken, given: Given) {
        self.0.insert(token, given);
    }

    /// Whether a token is this phone's: next to none is, so that a phone looks here before it reads an entry.
    #[must_use]
    pub fn has(&self, token: &ConfirmationToken) -> bool {
        self.0.contains_key(token)
    }

    /// Forgets what is more than 15 days old.
    pub fn forget(&mut self, today: Day) {
        self.0.retain(|_, given| given.step.day() >= today.minus(Report::MAX_AGE));
    }

    /// The exchange that a published entry speaks of, if it was this phone's. It is taken out, so that it counts once.
    ///
    /// The entry's day must be the exchange's or next to it, as a contact may cross midnight. Another time code means
    /// that the authority did not open the service token, another receipt that somebody carried the tokens elsewhere;
    /// such an entry is nobody's, and the exchange stays.
    pub fn recognise(&mut self, entry: &Entry) -> Option<Given> {
        let fits = |given: &Given| {
            let apart = given.step.day().number().abs_diff(entry.day.number());
            given.code == entry.code && given.receipt == entry.receipt && apart <= 1
        };
        self.0.get(&entry.confirmation).filter(|given| fits(given))?;
        self.0.remove(&entry.confirmation)
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::{Answering, Asking};
    use super::super::vectors::each;
    use super::*;

    const STEP: Step = Step::new(1_888_889);

    fn given() -> Given {
        let to = EnvelopeHeader::new(0x20, "250/3".parse().unwrap()).unwrap();
        Given { step: STEP, code: TimeCode::new(7).unwrap(), to, receipt: Receipt::new([5; 16]) }
    }

    fn entry() -> Entry {
        let Given { code, receipt, .. } = given();
        Entry { confirmation: ConfirmationToken::new([1; 16]), code, receipt, day: STEP.day() }
    }

    fn tokens() -> GivenTokens {
        let mut tokens = GivenTokens::default();
        tokens.insert(ConfirmationToken::new([1; 16]), given());
        tokens
    }

    fn transcript(request: &str, authority: &str) -> Transcript {
        let asking = Asking::new(request.parse().unwrap()).unwrap();
        let answering = Answering::new(asking.request().clone(), authority.parse().unwrap()).unwrap();
        answering.transcript().clone()
    }

    #[test]
    fn a_token_depends_on_key_exchange_and_time() {
        let key = ConfirmationKey::random();
        let one = transcript("250/3", "826/4");
        let token = key.token(&one, STEP);
        assert_eq!(token, key.token(&one, STEP));
        assert_ne!(token, key.token(&one, Step::new(1)));
        assert_ne!(token, ConfirmationKey::random().token(&one, STEP));
        assert_ne!(token, key.token(&transcript("250/3", "826/4"), STEP), "other phones");
    }

    #[test]
    fn a_published_entry_is_recognised_once() {
        let mut tokens = tokens();
        assert_eq!(tokens.recognise(&entry()), Some(given()));
        assert_eq!(tokens.recognise(&entry()), None);
    }

    #[test]
    fn an_entry_with_another_token_code_receipt_or_day_is_nobodys() {
        let mut tokens = tokens();
        let (entry, day) = (entry(), STEP.day());
        for other in [
            Entry { confirmation: ConfirmationToken::new([2; 16]), ..entry },
            Entry { code: TimeCode::new(8).unwrap(), ..entry },
            Entry { receipt: Receipt::new([6; 16]), ..entry },
            Entry { day: day.plus(2), ..entry },
            Entry { day: day.minus(2), ..entry },
        ] {
            assert_eq!(tokens.recognise(&other), None);
        }
        assert_eq!(tokens.recognise(&Entry { day: day.minus(1), ..entry }), Some(given()), "over midnight");
    }

    #[test]
    fn a_token_is_forgotten_after_15_days() {
        let mut tokens = tokens();
        tokens.forget(STEP.day().plus(15));
        assert_eq!(tokens.0.len(), 1);
        tokens.forget(STEP.day().plus(16));
        assert!(tokens.0.is_empty());
    }

    #[test]
    fn the_token_is_the_published_one() {
        each("ours-ect", 1, |vector| {
            let (_, transmitter) = super::super::testing::published_exchange();
            let transcript = transmitter.transcript();
            assert_eq!(transcript.request().octets()[..], vector.octets("request"));
            assert_eq!(transcript.header().octets()[..], vector.octets("response_header"));
            assert_eq!(transcript.x()[..], vector.octets("epkB_x"));
            let key = ConfirmationKey::fixed(vector.array("day_key"));
            let token = key.token(transcript, Step::new(u32::try_from(vector.number("step")).unwrap()));
            assert_eq!(hex::encode(token.octets()), vector.expected["hex"]);
        });
    }
}
