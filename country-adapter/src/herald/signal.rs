//! What phones with today's libraries write to each other's signal characteristic, little endian (`herald.md` 5).
//!
//! A calling card holds what another phone heard; it crosses no border as such. It is unpacked into single contacts
//! which say that they were shared, as their signal was measured by somebody else.

use std::collections::HashSet;

use proto::malformed::Malformed;

use super::reference::SourceProfile;

/// Octets of the payloads on a calling card: Simple frames of the Android and iOS libraries.
const PAYLOAD: usize = 21;
/// What stands for no RSSI.
const NO_RSSI: i16 = 127;

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal<'a> {
    /// An empty write, which wakes the other app.
    WakeUp,
    /// The writer's own frame.
    Payload(&'a [u8]),
    /// How strong the writer heard the other phone, dBm.
    Rssi(i16),
    /// What the writer heard of others in the last minutes.
    CallingCard(CallingCard<'a>),
    /// A message of the app.
    Immediate(&'a [u8]),
}

/// Frames that the writer heard, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallingCard<'a> {
    /// How strong the writer heard the other phone; not those whose frames these are.
    pub rssi: Option<i16>,
    payloads: &'a [u8],
}

/// How a contact was detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By the phone's own radio.
    Direct,
    /// By another phone, which has shared it.
    Shared,
}

/// A frame as the specification has it, and how the phone came by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// The frame.
    pub frame: Vec<u8>,
    /// How.
    pub via: Via,
}

impl<'a> Signal<'a> {
    /// Reads a write; all of it. The count must be that of the octets behind it.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let Some((action, rest)) = octets.split_first() else { return Ok(Self::WakeUp) };
        match action {
            1 => Ok(Self::Payload(counted(rest)?)),
            2 => match rest.try_into() {
                Ok(rssi) => Ok(Self::Rssi(i16::from_le_bytes(rssi))),
                Err(_) => Err(Malformed::Length { field: "signal of an RSSI", is: octets.len(), must: "3" }),
            },
            3 => {
                let (rssi, rest) = first(rest)?;
                let rssi = Some(rssi).filter(|rssi| *rssi != NO_RSSI);
                Ok(Self::CallingCard(CallingCard { rssi, payloads: counted(rest)? }))
            }
            4 => Ok(Self::Immediate(counted(rest)?)),
            other => Err(Malformed::Value { field: "action", value: (*other).into(), allowed: "1 to 4" }),
        }
    }

    /// What is written.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        match self {
            Self::WakeUp => Vec::new(),
            Self::Payload(payload) => [&[1][..], &with_count(payload)].concat(),
            Self::Rssi(rssi) => [&[2][..], &rssi.to_le_bytes()].concat(),
            Self::CallingCard(CallingCard { rssi, payloads }) => {
                [&[3][..], &rssi.unwrap_or(NO_RSSI).to_le_bytes(), &with_count(payloads)].concat()
            }
            Self::Immediate(message) => [&[4][..], &with_count(message)].concat(),
        }
    }

    /// What the phone that was written to has detected by it; of frames that do not parse, why.
    pub fn detected(&self, profile: SourceProfile) -> Vec<Result<Detected, Malformed>> {
        match self {
            Self::WakeUp | Self::Rssi(_) | Self::Immediate(_) => Vec::new(),
            Self::Payload(payload) => vec![detected(payload, profile, Via::Direct)],
            Self::CallingCard(card) => card.unpacked(profile),
        }
    }
}

impl<'a> CallingCard<'a> {
    /// Frames of 21 octets each, one behind the other.
    pub fn new(rssi: Option<i16>, payloads: &'a [u8]) -> Result<Self, Malformed> {
        let most = usize::from(i16::MAX.unsigned_abs());
        if payloads.len() > most || !payloads.len().is_multiple_of(PAYLOAD) {
            return Err(UNEVEN);
        }
        Ok(Self { rssi, payloads })
    }

    /// Each frame once.
    fn unpacked(&self, profile: SourceProfile) -> Vec<Result<Detected, Malformed>> {
        let (payloads, rest) = self.payloads.as_chunks::<PAYLOAD>();
        if !rest.is_empty() {
            return vec![Err(UNEVEN)];
        }
        let mut seen = HashSet::new();
        let new = payloads.iter().filter(|payload| seen.insert(**payload));
        new.map(|payload| detected(payload, profile, Via::Shared)).collect()
    }
}

const UNEVEN: Malformed = Malformed::Field {
    field: "calling card",
    reason: "it must hold whole frames of 21 octets, and below 32 KiB",
};

fn detected(payload: &[u8], profile: SourceProfile, via: Via) -> Result<Detected, Malformed> {
    Ok(Detected { frame: profile.frame(payload.to_vec())?, via })
}

fn first(octets: &[u8]) -> Result<(i16, &[u8]), Malformed> {
    let missing = 2_usize.saturating_sub(octets.len());
    let (number, rest) =
        octets.split_first_chunk().ok_or(Malformed::Truncated { what: "signal", missing })?;
    Ok((i16::from_le_bytes(*number), rest))
}

fn counted(octets: &[u8]) -> Result<&[u8], Malformed> {
    let (count, rest) = first(octets)?;
    if usize::try_from(count) != Ok(rest.len()) {
        let reason = "it must be that of the octets behind it, in little endian";
        return Err(Malformed::Field { field: "count of a signal", reason });
    }
    Ok(rest)
}

/// A write has 512 octets at most, so that the count fits.
fn with_count(octets: &[u8]) -> Vec<u8> {
    let count = i16::try_from(octets.len()).unwrap_or(i16::MAX);
    let octets = &octets[..octets.len().min(usize::from(count.unsigned_abs()))];
    [&count.to_le_bytes(), octets].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LE: SourceProfile = SourceProfile::Libraries;

    fn frame(number: u8) -> Vec<u8> {
        [&[0x10, 0x3a, 3, 1, 0][..], &[number; 16]].concat()
    }

    #[test]
    fn a_calling_card_becomes_single_contacts_that_were_shared() {
        let payloads = [frame(1), frame(2), frame(1)].concat();
        let card = Signal::CallingCard(CallingCard::new(Some(-60), &payloads).unwrap());
        let all: Vec<_> = card.detected(LE).into_iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), 2, "each once");
        for (detected, number) in all.iter().zip([1, 2]) {
            let expected = [&[0x10, 3, 0x3a, 0, 1][..], &[number; 16]].concat();
            assert_eq!((&detected.frame, detected.via), (&expected, Via::Shared));
        }
        let own = frame(3);
        let direct = Signal::Payload(&own).detected(LE);
        assert!(matches!(&direct[..], [Ok(Detected { via: Via::Direct, .. })]));
        for nothing in [Signal::WakeUp, Signal::Rssi(-55), Signal::Immediate(&own)] {
            assert!(nothing.detected(LE).is_empty());
        }
    }

    #[test]
    fn a_card_of_parts_of_frames_gives_no_contact() {
        let octets = [&[3, 0xc4, 0xff, 22, 0][..], &frame(1), &[0]].concat();
        assert_eq!(Signal::parse(&octets).unwrap().detected(LE), [Err(UNEVEN)]);
        assert_eq!(CallingCard::new(None, &octets), Err(UNEVEN));
    }

    #[test]
    fn a_count_is_that_of_the_octets_behind_it() {
        for wrong in [
            &[1][..],
            &[1, 0],
            &[1, 1, 0],
            &[1, 1, 0, 7, 7],
            &[4, 0, 0, 7],
            &[4, 0xff, 0xff],
            &[2, 0xc9],
            &[2, 0xc9, 0xff, 0],
            &[3, 0xc4],
            &[3, 0xc4, 0xff, 0],
            &[0],
            &[5, 0, 0],
        ] {
            assert!(Signal::parse(wrong).is_err(), "{wrong:02x?}");
        }
        assert_eq!(Signal::parse(&[]), Ok(Signal::WakeUp));
    }

    proptest! {
        #[test]
        fn any_write_is_read_or_refused(action in 0..6_u8, rest in prop::collection::vec(any::<u8>(), 0..60)) {
            let count = u16::try_from(rest.len()).unwrap().to_le_bytes();
            for octets in [[&[action][..], &rest].concat(), [&[action][..], &count, &rest].concat()] {
                if let Ok(signal) = Signal::parse(&octets) {
                    prop_assert_eq!(signal.octets(), octets);
                }
            }
        }
    }
}
