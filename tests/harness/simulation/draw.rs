//! Draws plans: the same seed gives the same plan.

use proto::ids::{Authority, CountryCode, StateCode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::line::{Direction, Fault, Lie, Line, Place};
use super::operations::{COUNTRIES, Load, Moment, Operation, Plan};

/// A plan of so many operations.
#[must_use]
pub(super) fn plan(seed: u64, operations: usize) -> Plan {
    let mut rng = StdRng::seed_from_u64(seed);
    let countries = rng.random_range(2..=COUNTRIES.len());
    let mut draw = Draw { rng, countries, troubles: Vec::new(), next: None };
    let operations = (0..operations).map(|_| draw.operation()).collect();
    Plan { countries, operations }
}

/// The authorities of the first countries.
#[must_use]
pub(super) fn authorities(countries: usize) -> Vec<Authority> {
    let of = |(code, states): &(u16, &[u16])| -> Vec<Authority> {
        let code = CountryCode::new(*code).expect("no country here is 0");
        states.iter().map(|state| Authority::State(code, StateCode::new(*state))).collect()
    };
    COUNTRIES[..countries].iter().flat_map(of).collect()
}

struct Draw {
    rng: StdRng,
    countries: usize,
    /// What would mend the troubles so far; otherwise a plan would soon stand still.
    troubles: Vec<Operation>,
    /// What shows the last trouble at once.
    next: Option<Operation>,
}

impl Draw {
    fn operation(&mut self) -> Operation {
        if let Some(next) = self.next.take().filter(|_| self.rng.random_bool(0.6)) {
            return next;
        }
        if !self.troubles.is_empty() && self.rng.random_bool(0.18) {
            let at = self.rng.random_range(0..self.troubles.len());
            return self.troubles.swap_remove(at);
        }
        match self.rng.random_range(0..100) {
            0..22 => self.push(),
            22..26 => Operation::Retry(self.rng.random_range(0..64)),
            26..27 => Operation::Alter(self.rng.random_range(0..64)),
            27..47 => Operation::Pull(self.country(), self.country()),
            47..61 => Operation::Receive(self.authority()),
            61..67 => Operation::Receipts(self.country(), self.country()),
            67..70 => Operation::Keys(self.country()),
            70..75 => self.turn(),
            75..76 => Operation::Back(self.country()),
            76..80 => Operation::Purge(self.country()),
            80..82 => Operation::Reopen(self.authority()),
            82..84 => Operation::Trust(self.country()),
            84..88 => self.keys(),
            _ => self.trouble(),
        }
    }

    fn push(&mut self) -> Operation {
        let at_once = if self.rng.random_bool(0.25) { self.rng.random_range(2..=5) } else { 1 };
        Operation::Push((0..at_once).map(|_| self.load()).collect())
    }

    fn load(&mut self) -> Load {
        let reports = match self.rng.random_range(0..40) {
            0 => self.rng.random_range(100..600),
            1..4 => self.rng.random_range(10..80),
            _ => self.rng.random_range(1..8),
        };
        Load { pusher: self.authority(), reports, mix: self.rng.random() }
    }

    /// Minutes, hours or days.
    fn turn(&mut self) -> Operation {
        let minutes = match self.rng.random_range(0..10) {
            0..4 => self.rng.random_range(1..60),
            4..7 => self.rng.random_range(1..30) * 60,
            7 => self.rng.random_range(1..6) * 24 * 60,
            _ => self.rng.random_range(10..17) * 24 * 60,
        };
        Operation::Turn(minutes)
    }

    fn keys(&mut self) -> Operation {
        let authority = self.authority();
        if self.rng.random_bool(0.6) { Operation::Rotate(authority) } else { Operation::Retire(authority) }
    }

    fn trouble(&mut self) -> Operation {
        let country = self.country();
        let (trouble, mended) = match self.rng.random_range(0..14) {
            0..4 => (Operation::Kill(country, self.moment()), Operation::Start(country)),
            4 => (Operation::Stop(country), Operation::Start(country)),
            5 => (Operation::Fill(country), Operation::Free(country)),
            6 => (Operation::Suspend(country), Operation::Readmit(country)),
            _ => {
                let (line, fault) = self.fault();
                self.next = match line {
                    Line::Peers { from, to } => Some(Operation::Pull(from, to)),
                    Line::National(_) => Some(self.push()),
                };
                (Operation::Fault(line, fault), Operation::Heal(line))
            }
        };
        self.troubles.push(mended);
        trouble
    }

    fn moment(&mut self) -> Moment {
        match self.rng.random_range(0..3) {
            0 => Moment::Now,
            1 => Moment::Before(self.rng.random_range(1..4)),
            _ => Moment::After(self.rng.random_range(1..4)),
        }
    }

    fn fault(&mut self) -> (Line, Fault) {
        let line = if self.rng.random_bool(0.3) {
            Line::National(self.authority())
        } else {
            Line::Peers { from: self.country(), to: self.country() }
        };
        let direction = if self.rng.random_bool(0.5) { Direction::Asked } else { Direction::Answered };
        // A handshake takes about 5,000 octets; a page may have many more.
        let place = Place { after: self.rng.random_range(0..9_000), direction };
        let fault = match self.rng.random_range(0..11) {
            0..2 => Fault::Cut,
            2 => Fault::Delay(self.rng.random_range(1..30)),
            3 => Fault::Flip(place),
            4 => Fault::Truncate(place),
            5 => Fault::Repeat(place),
            6 => Fault::Swap(place),
            _ if matches!(line, Line::National(_)) => Fault::Truncate(place),
            _ => Fault::Lie(*Lie::ALL.choose(&mut self.rng).expect("there are some")),
        };
        (line, fault)
    }

    fn country(&mut self) -> u16 {
        COUNTRIES[self.rng.random_range(0..self.countries)].0
    }

    fn authority(&mut self) -> Authority {
        *authorities(self.countries).choose(&mut self.rng).expect("every country has one")
    }
}
