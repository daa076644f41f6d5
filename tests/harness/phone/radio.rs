//! Two phones near each other, octet by octet: what one writes to the other, and what each makes of it.

use anyhow::{Result, bail};
use country_adapter::herald::secured::exchange::Asking;
use proto::header::Frame;

use super::air::{Air, Stay};
use super::near::EVERY;
use super::secured::Secured;
use super::{Phone, Speaks};

/// Two phones meet. On Secured each asks the other once, with keys that are used once; on Simple each hears the
/// other's adverts every 30 seconds.
pub fn meet(air: &mut Air, [one, other]: [&mut Phone; 2], stay: &Stay) -> Result<()> {
    match (&one.speaks, &other.speaks) {
        (Speaks::Secured(_), Speaks::Secured(_)) => {
            exchange(air, [&mut *one, &mut *other], stay)?;
            exchange(air, [other, one], stay)
        }
        (Speaks::Simple(_), Speaks::Simple(_)) => adverts(air, [one, other], stay),
        _ => bail!("{one} and {other} do not speak the same"),
    }
}

/// One exchange: the first asks, the second answers.
fn exchange(air: &mut Air, [asking, answering]: [&mut Phone; 2], stay: &Stay) -> Result<()> {
    let question = asking.ask()?;
    air.say(question.request().octets());
    let answer = answering.answer(question.request().octets(), stay.from())?;
    air.say(&answer);
    hear(asking, question, &answer, stay)
}

/// A phone opens an answer to its question, and notes how near the other phone was.
pub fn hear(phone: &mut Phone, question: Asking, answer: &[u8], stay: &Stay) -> Result<()> {
    let heard = question.open(answer)?;
    phone.log.push(Secured::detected(&heard, stay.near()));
    Ok(())
}

fn adverts(air: &mut Air, phones: [&mut Phone; 2], stay: &Stay) -> Result<()> {
    let [one, other] = phones;
    for estimate in stay.estimates() {
        let said = [one.advert(estimate.0)?, other.advert(estimate.0)?];
        said.iter().for_each(|advert| air.say(advert));
        other.detect(&said[0], estimate)?;
        one.detect(&said[1], estimate)?;
    }
    Ok(())
}

/// A phone's owner is at a venue: its beacon is heard every 30 seconds.
pub fn visit(air: &mut Air, phone: &mut Phone, beacon: &[u8], stay: &Stay) -> Result<()> {
    air.say(beacon);
    let mut at = stay.from();
    while at <= stay.until() {
        phone.diary.hear(beacon, at)?;
        at += EVERY;
    }
    Ok(())
}

impl Phone {
    /// A question to another phone, under a fresh key.
    pub fn ask(&self) -> Result<Asking> {
        self.in_secured()?.ask(self.authority())
    }

    /// The answer to another phone's question at a Unix time. The phone remembers what it gave away.
    pub fn answer(&mut self, question: &[u8], at: u64) -> Result<Vec<u8>> {
        let home = self.authority();
        self.in_secured_mut()?.answer(question, home, at)
    }

    /// What a phone on Simple advertises at a Unix time.
    pub fn advert(&self, at: u64) -> Result<Vec<u8>> {
        self.in_simple()?.advert(self.authority(), at)
    }

    /// Hears an advert, at a Unix time and a distance in metres.
    pub fn detect(&mut self, advert: &[u8], estimate: (u64, f64)) -> Result<()> {
        let frame = Frame::parse(advert)?;
        let parts = country_adapter::herald::split(&frame)?;
        self.log.sample(frame.header, parts.token, estimate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use country_adapter::herald::secured::report::ReportToken;

    use super::super::testing::{NOW, secured, simple};
    use super::super::{Recognised, Warnings};
    use super::*;

    #[test]
    fn two_phones_on_secured_know_each_other_by_tokens_alone() {
        let (mut air, mut alice, mut bruno) = (Air::default(), secured("826/0"), secured("250/0"));
        meet(&mut air, [&mut alice, &mut bruno], &Stay::new(NOW, 12, 1.5).then(3, 0.5)).unwrap();
        let lengths: Vec<_> = air.said().iter().map(Vec::len).collect();
        assert_eq!(lengths, [70, 200, 70, 200], "each asks and answers once");
        for (phone, other, header) in
            [(&alice, &bruno, [0x20, 0, 250, 0, 0]), (&bruno, &alice, [0x20, 3, 0x3a, 0, 0])]
        {
            let met: Vec<_> = phone.log().iter().collect();
            assert_eq!((met.len(), met[0].header, met[0].token.len()), (1, header, 151));
            assert_eq!(met[0].near.minutes().map(|minutes| minutes.number()), [3, 12, 0, 0]);
            let token = ReportToken::parse(&met[0].token).unwrap();
            let given = other.in_secured().unwrap().given(&token.confirmation).unwrap();
            assert_eq!(given.given.receipt, token.receipt, "both ends agree on the receipt");
        }
        assert_eq!(alice.warnings(), &Warnings::default());
    }

    #[test]
    fn a_published_contact_is_counted_once_and_anything_else_is_met_with_silence() {
        use super::super::Mismatch;
        use country_adapter::herald::secured::Receipt;
        use country_adapter::herald::secured::confirmation::Entry;
        use country_adapter::herald::secured::totp::TimeCode;

        let (mut air, mut alice, mut bruno) = (Air::default(), secured("826/0"), secured("250/0"));
        meet(&mut air, [&mut alice, &mut bruno], &Stay::new(NOW, 20, 1.5)).unwrap();
        let token = ReportToken::parse(&alice.log().iter().next().unwrap().token).unwrap();
        let given = bruno.in_secured().unwrap().given(&token.confirmation).unwrap().given;
        let day = given.step.day();
        let entry = Entry { confirmation: token.confirmation, code: given.code, receipt: token.receipt, day };
        let own = bruno.in_secured_mut().unwrap();
        let silent = |entry: Entry, own: &mut Secured| own.recognise(&entry);
        let other_code = TimeCode::new(entry.code.number() ^ 1).unwrap();
        let unopened = Entry { code: other_code, ..entry };
        assert_eq!(silent(unopened, own), Recognised::Silent(Mismatch::Code));
        let receipt = Entry { receipt: Receipt::new([1; 16]), ..entry };
        assert_eq!(silent(receipt, own), Recognised::Silent(Mismatch::Receipt));
        assert_eq!(silent(Entry { day: day.plus(2), ..entry }, own), Recognised::Silent(Mismatch::Day));
        assert_eq!(own.recognise(&entry), Recognised::Own);
        assert_eq!(own.recognise(&entry), Recognised::Silent(Mismatch::Counted));
        assert_eq!(alice.in_secured_mut().unwrap().recognise(&entry), Recognised::NotMine);
    }

    #[test]
    fn phones_on_simple_hear_a_new_identifier_every_six_minutes() {
        let (mut air, mut gwen, mut mia) = (Air::default(), simple("826/0"), simple("36/2"));
        // A period of 360 s begins at NOW.
        meet(&mut air, [&mut gwen, &mut mia], &Stay::new(NOW, 15, 1.5)).unwrap();
        assert_eq!(air.said().len(), 6, "three of each");
        let met: Vec<_> = gwen.log().iter().map(|met| met.near.duration().number()).collect();
        assert_eq!(met, [6, 6, 3]);
        let advertised = mia.in_simple().unwrap().advertised(proto::day::Day::of_unix(NOW)).unwrap();
        assert!(gwen.log().iter().all(|met| advertised.contains_key(&met.token[..])));
    }

    #[test]
    fn phones_that_speak_otherwise_do_not_meet() {
        let stay = Stay::new(NOW, 1, 1.0);
        assert!(meet(&mut Air::default(), [&mut secured("826/0"), &mut simple("826/0")], &stay).is_err());
    }
}
