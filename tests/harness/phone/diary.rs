//! Where a phone's owner was: one entry for each stay at a venue, whichever of its beacons were heard.
//!
//! The names and the address that a beacon tells stay on the phone; the location number says enough.

use proto::day::Day;
use proto::header::{EnvelopeHeader, Frame};
use proto::ids::Authority;
use serde::{Deserialize, Serialize};

use anyhow::{Context, Result, ensure};
use country_adapter::herald::venue;

/// Seconds of a visit that is remembered; who walks past a door has not been inside.
const LEAST: u64 = 120;
/// Seconds without the beacon after which a visit is over.
const CLOSED: u64 = 300;
/// Days for which a visit is kept, for its owner to look at (`herald.md` 4.1).
const KEPT: u16 = 31;
/// Days for which it is shared with the authority.
const SHARED: u16 = 14;

/// Visits, in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diary(Vec<Visit>);

/// A stay at a venue on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    pub(super) header: [u8; EnvelopeHeader::LEN],
    /// The venue's number, unique at its authority.
    pub location: u32,
    /// Unix time of the first advert.
    pub from: u64,
    /// Unix time of the last one.
    pub to: u64,
}

impl Diary {
    /// Hears a beacon's advert at a Unix time.
    pub fn hear(&mut self, beacon: &[u8], at: u64) -> Result<()> {
        let Frame { header, body } = Frame::parse(beacon)?;
        ensure!(header.code() == venue::CODE, "the advert is of no beacon");
        let (location, _) = venue::parse(body)?;
        let location = u32::from_be_bytes(location.try_into().context("a location has four octets")?);
        let (header, day) = (header.octets(), Day::of_unix(at));
        // Several beacons of a venue have different texts and the same number: one entry.
        let known = self.0.iter_mut().find(|visit| {
            (visit.header, visit.location, visit.day()) == (header, location, day) && at <= visit.to + CLOSED
        });
        match known {
            Some(visit) => visit.to = visit.to.max(at),
            None => self.0.push(Visit { header, location, from: at, to: at }),
        }
        Ok(())
    }

    /// The visits that lasted.
    pub fn visits(&self) -> impl Iterator<Item = &Visit> {
        self.0.iter().filter(|visit| visit.to - visit.from > LEAST)
    }

    /// The visits that are shared when its owner is ill.
    pub fn shared(&self, today: Day) -> impl Iterator<Item = &Visit> {
        self.visits().filter(move |visit| visit.day() >= today.minus(SHARED))
    }

    /// Forgets what nobody needs any more.
    pub fn forget(&mut self, today: Day) {
        self.0.retain(|visit| visit.day() >= today.minus(KEPT));
    }
}

impl Visit {
    /// The header of the venue's authority.
    pub fn header(&self) -> Result<EnvelopeHeader> {
        Ok(EnvelopeHeader::parse(&self.header)?)
    }

    /// The venue's authority.
    #[must_use]
    pub fn authority(&self) -> Option<Authority> {
        self.header().map(|header| header.authority()).ok()
    }

    /// The UTC day on which it began.
    #[must_use]
    pub fn day(&self) -> Day {
        Day::of_unix(self.from)
    }

    /// Minutes of the visit that fall into a time.
    #[must_use]
    pub fn minutes_within(&self, from: u64, to: u64) -> u64 {
        self.to.min(to).saturating_sub(self.from.max(from)).div_ceil(60)
    }
}

#[cfg(test)]
mod tests {
    use proto::extended::ExtendedData;

    use super::*;

    fn beacon(location: u32, area: &[u8]) -> Vec<u8> {
        let extended = [&[0x11, u8::try_from(area.len()).unwrap()], area].concat();
        venue::beacon("826/0".parse().unwrap(), location, ExtendedData::parse(&extended).unwrap()).unwrap()
    }

    #[test]
    fn all_beacons_of_a_venue_are_one_visit() {
        let mut diary = Diary::default();
        for at in (900..1_800).step_by(60) {
            let area: &[u8] = if at < 1_200 { b"bar" } else { b"garden" };
            diary.hear(&beacon(7, area), at).unwrap();
        }
        let visits: Vec<_> = diary.visits().collect();
        assert_eq!(visits.len(), 1);
        assert_eq!((visits[0].location, visits[0].from, visits[0].to), (7, 900, 1_740));
        assert_eq!(visits[0].minutes_within(1_500, 3_000), 4);
        assert_eq!(visits[0].minutes_within(0, 900), 0);
    }

    #[test]
    fn another_venue_and_a_later_visit_are_other_entries_and_a_passer_by_has_none() {
        let mut diary = Diary::default();
        for at in [0, 100, 200, 600, 700, 800, 5_000] {
            diary.hear(&beacon(7, b"bar"), at).unwrap();
        }
        diary.hear(&beacon(8, b"bar"), 200).unwrap();
        let visits: Vec<_> = diary.visits().map(|visit| (visit.location, visit.from, visit.to)).collect();
        assert_eq!(visits, [(7, 0, 200), (7, 600, 800)]);
    }

    #[test]
    fn a_visit_is_shared_for_14_days_and_kept_for_31() {
        let mut diary = Diary::default();
        [0, 200].into_iter().for_each(|at| diary.hear(&beacon(7, b"bar"), at).unwrap());
        assert_eq!([14, 15].map(|today| diary.shared(Day::new(today)).count()), [1, 0]);
        diary.forget(Day::new(31));
        assert_eq!(diary.visits().count(), 1);
        diary.forget(Day::new(32));
        assert_eq!(diary.visits().count(), 0);
    }

    #[test]
    fn another_phone_is_no_venue() {
        let frame = [&[0x10, 3, 0x3a, 0, 0][..], &[7; 16]].concat();
        assert!(Diary::default().hear(&frame, 0).is_err());
    }
}
