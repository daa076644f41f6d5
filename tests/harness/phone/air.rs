//! What is on the air between phones: the exact octets, which anybody beside them can record.

use country_adapter::herald::secured;
use country_adapter::herald::secured::exchange::Request;
use serde::{Deserialize, Serialize};

use super::near::{EVERY, Near};

/// All that was said over the radio, in the order in which it was said. It is what a sniffer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Air {
    said: Vec<Vec<u8>>,
}

impl Air {
    /// Says something. What a phone advertises again and again is kept once.
    pub fn say(&mut self, octets: &[u8]) {
        if !self.said.iter().any(|said| said == octets) {
            self.said.push(octets.to_vec());
        }
    }

    /// The keys of all exchanges of Secured, as x-coordinates: behind a question's header and the octet that says
    /// what form the point has, and behind an answer's header.
    pub fn one_time_keys(&self) -> impl Iterator<Item = [u8; 32]> {
        let secured = self.said.iter().filter(|octets| octets.first() == Some(&secured::CODE));
        secured.filter_map(|octets| {
            let at = if octets.len() == Request::LEN { 6 } else { 5 };
            octets.get(at..at + 32)?.try_into().ok()
        })
    }

    /// All that was said.
    #[must_use]
    pub fn said(&self) -> &[Vec<u8>] {
        &self.said
    }
}

/// Two people near each other: since when, and at which distances for how long.
#[derive(Debug, Clone)]
pub struct Stay {
    from: u64,
    legs: Vec<(u64, f64)>,
}

impl Stay {
    /// Begins at a Unix time with so many minutes at a distance in metres.
    #[must_use]
    pub fn new(from: u64, minutes: u64, metres: f64) -> Self {
        Self { from, legs: vec![(minutes, metres)] }
    }

    /// Goes on at another distance.
    #[must_use]
    pub fn then(mut self, minutes: u64, metres: f64) -> Self {
        self.legs.push((minutes, metres));
        self
    }

    /// The Unix time at which it begins.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The Unix time at which it ends.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.from + self.legs.iter().map(|(minutes, _)| minutes * 60).sum::<u64>()
    }

    /// What a phone notes of all of it.
    #[must_use]
    pub fn near(&self) -> Near {
        let mut estimates = self.estimates();
        let (at, metres) = estimates.next().unwrap_or((self.from, f64::MAX));
        let mut near = Near::begin(at, metres);
        estimates.for_each(|(at, metres)| near.sample(at, metres));
        near
    }

    /// An estimate of the distance every 30 seconds: Unix time and metres.
    pub fn estimates(&self) -> impl Iterator<Item = (u64, f64)> {
        let metres = self.legs.iter().flat_map(|(minutes, metres)| {
            let estimates = minutes * 60 / EVERY;
            (0..estimates).map(move |_| *metres)
        });
        (0..).map(|number| self.from + number * EVERY).zip(metres)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_gives_an_estimate_every_30_seconds() {
        let stay = Stay::new(600, 1, 1.5).then(1, 3.0);
        let estimates: Vec<_> = stay.estimates().collect();
        assert_eq!(estimates, [(600, 1.5), (630, 1.5), (660, 3.0), (690, 3.0)]);
        assert_eq!((stay.from(), stay.until()), (600, 720));
    }

    #[test]
    fn an_advert_is_recorded_once() {
        let mut air = Air::default();
        [b"a", b"b", b"a"].into_iter().for_each(|octets| air.say(octets));
        assert_eq!(air.said(), [b"a", b"b"]);
    }
}
