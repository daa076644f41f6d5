//! Phones that meet: contact identifiers from Herald's key schedule.

use anyhow::{Context, Result, ensure};
use country_adapter::herald::simple::{Generation, KeySchedule, Secret, identifiers};
use proto::day::Day;

/// Octets of a phone's secret, as the reference libraries draw it.
const SECRET_LEN: usize = 2_048;
/// The identifier of a secret of zeros on the first day and in the first period, by Herald's own table.
pub const KNOWN_IDENTIFIER: &str = "e2cfbeb32de932c9171c658b5f57a337";

/// What a phone advertises in one period.
pub type Identifier = [u8; 16];

/// Identifiers that fresh phones advertised on a day, no two the same; each phone gives the 240 of that day.
pub fn met_on(day: Day, count: usize) -> Result<Vec<Identifier>> {
    let mut met = Vec::with_capacity(count);
    while met.len() < count {
        let mut secret = vec![0; SECRET_LEN];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        let key = schedule(secret, day)?.matching_key(day)?;
        met.extend(identifiers(&key).iter().map(|identifier| *identifier.octets()));
    }
    met.truncate(count);
    Ok(met)
}

/// Derives the known identifier and compares it.
pub fn check_known_identifier() -> Result<()> {
    let first = Day::new(18_529);
    let derived = schedule(vec![0; SECRET_LEN], first)?.contact_identifier(first.unix())?;
    let derived = hex::encode(derived.octets());
    ensure!(
        derived == KNOWN_IDENTIFIER,
        "the key schedule gives {derived} where Herald gives {KNOWN_IDENTIFIER}"
    );
    Ok(())
}

fn schedule(secret: Vec<u8>, day: Day) -> Result<KeySchedule> {
    let generation = Generation::of(day).context("no chain of keys is that old")?;
    Ok(KeySchedule::new(Secret::new(secret)?, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_identifier_is_derived() {
        check_known_identifier().unwrap();
    }

    #[test]
    fn no_identifier_comes_twice() {
        let met = met_on(Day::new(20_780), 500).unwrap();
        assert_eq!(met.iter().collect::<std::collections::HashSet<_>>().len(), 500);
    }
}
