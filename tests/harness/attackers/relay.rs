//! A relay: it stands between two phones that are far apart, and ends each exchange itself (`herald.md` D6).

use anyhow::Result;
use country_adapter::herald::secured::exchange::{Answering, Asking, Request};

use crate::phone::{Air, Phone, Stay, hear};

/// Carries a phone's tokens to another one that it never met. The relay opens the block, as every receiver does, and
/// closes it again under keys of its own; the service token and the confirmation token stay as they are.
pub fn carry(air: &mut Air, [from, to]: [&mut Phone; 2], stay: &Stay) -> Result<()> {
    let here = Asking::new(to.authority())?;
    air.say(here.request().octets());
    let answer = from.answer(here.request().octets(), stay.from())?;
    air.say(&answer);
    let block = here.open(&answer)?.block;

    let question = to.ask()?;
    air.say(question.request().octets());
    let there = Answering::new(Request::parse(question.request().octets())?, from.authority())?;
    let carried = there.close(&block)?.frame;
    air.say(&carried);
    hear(to, question, &carried, stay)
}

#[cfg(test)]
mod tests {
    use country_adapter::herald::secured::confirmation::Entry;
    use country_adapter::herald::secured::report::ReportToken;

    use super::*;
    use crate::phone::testing::{NOW, secured};
    use crate::phone::{Mismatch, Recognised};

    #[test]
    fn a_phone_stays_silent_about_a_token_that_was_carried_elsewhere() {
        let (mut emma, mut felix) = (secured("826/0"), secured("250/0"));
        carry(&mut Air::default(), [&mut emma, &mut felix], &Stay::new(NOW, 20, 1.0)).unwrap();
        let token = ReportToken::parse(&felix.log().iter().next().unwrap().token).unwrap();
        let own = emma.in_secured_mut().unwrap();
        let given = own.given(&token.confirmation).unwrap().given;
        // As Emma's authority would publish it: the service token is good, and opens.
        let (code, day) = (given.code, given.step.day());
        let entry = Entry { confirmation: token.confirmation, code, receipt: token.receipt, day };
        assert_eq!(own.recognise(&entry), Recognised::Silent(Mismatch::Receipt));
    }
}
