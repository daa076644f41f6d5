//! What the demo sends: tokens for everybody, and one of everything that must be refused.

use anyhow::{Context, Result, ensure};
use proto::day::Day;
use proto::ids::Authority;
use proto::verdict::Verdict;

use super::ledger::{Ledger, Plan};
use crate::direct::{self, Line};
use crate::federation::Federation;
use crate::members::authority;
use crate::phones::{self, Identifier};
use crate::reports::{Contact, today};

/// Tokens from every authority to every other.
const EACH: usize = 250;
/// Tokens of each other kind.
const FEW: usize = 20;
/// Days that the contacts are spread over; 15 would be refused if the clock passes midnight meanwhile.
const DAYS: u16 = 14;
/// Signal readings, which may leave a country.
const READINGS: [u8; 6] = [0x40, 1, 0xc8, 0x41, 1, 0x0c];
/// Extended data sections that may not: a phone's model and premises.
const MODEL: u8 = 0x42;
const PREMISES: u8 = 0x10;

/// A line of a file, and what must become of it.
struct Planned {
    line: String,
    plan: Plan,
}

/// Pushes one file from every authority through its adapter, all at the same time.
pub(super) async fn push_files(federation: &Federation, ledger: &mut Ledger) -> Result<()> {
    let mut files = Vec::new();
    for adapter in federation.adapters() {
        let by = adapter.authority;
        let planned = Traffic::new(federation, by)?.lines(ledger)?;
        let lines: Vec<_> = planned.iter().map(|planned| planned.line.clone()).collect();
        let name = crate::backend::submit(adapter, &lines)?;
        files.push((adapter, name, planned));
    }
    for (adapter, name, planned) in files {
        let answers = crate::backend::answers(adapter, &name, planned.len()).await?;
        for (planned, answer) in planned.into_iter().zip(answers) {
            ledger.add(adapter.authority, planned.plan, &answer.verdict);
        }
    }
    Ok(())
}

/// Pushes one of each kind straight to a gateway, with an adapter's certificate, so that the gateway's own checks have
/// to find what an adapter would have kept back.
pub(super) async fn push_by_hand(federation: &Federation, ledger: &mut Ledger) -> Result<()> {
    let by = authority("826/1");
    let plans = Traffic::new(federation, by)?.by_hand(authority("250/0"))?;
    let line = Line::open(federation, by).await?;
    let headers = plans.iter().flat_map(|(plan, _)| plan.contact.header).collect();
    let reports: Vec<_> = plans.iter().map(|(_, octets)| octets.clone()).collect();
    let reply = line.push(line.seal_parts(headers, &reports)?).await?;
    let verdicts = direct::verdicts(&reply)?;
    ensure!(verdicts.len() == plans.len(), "the gateway gives one verdict for each envelope");
    for ((plan, _), verdict) in plans.into_iter().zip(verdicts) {
        ledger.add(by, plan, verdict.name());
    }
    Ok(())
}

/// One authority's reports.
struct Traffic {
    by: Authority,
    others: Vec<Authority>,
    today: Day,
    /// Identifiers that nobody has used yet.
    fresh: Vec<Identifier>,
}

impl Traffic {
    fn new(federation: &Federation, by: Authority) -> Result<Self> {
        let others = federation.adapters().map(|adapter| adapter.authority).filter(|other| *other != by);
        let others: Vec<_> = others.collect();
        let fresh = phones::met_on(today(), EACH * others.len() + 20 * FEW)?;
        Ok(Self { by, others, today: today(), fresh })
    }

    /// A contact with a phone of an issuer, some days ago.
    fn contact(&mut self, issuer: Authority, days: u16) -> Result<Contact> {
        let token = self.fresh.pop().context("enough identifiers were derived")?;
        Ok(Contact::simple(issuer, &token, self.today.minus(days)))
    }

    fn lines(mut self, ledger: &mut Ledger) -> Result<Vec<Planned>> {
        let mut lines = self.good(ledger)?;
        lines.extend(self.refused_routes()?);
        lines.extend(self.refused_dates()?);
        lines.extend(self.malformed()?);
        lines.extend(self.forbidden(ledger)?);
        let again = lines.iter().take(FEW).map(|planned| {
            let plan = Plan::refused(planned.plan.contact.clone(), Verdict::Duplicate);
            Planned { line: planned.line.clone(), plan }
        });
        let again: Vec<_> = again.collect();
        lines.extend(again);
        Ok(lines)
    }

    /// Tokens of every other authority, and of a state that falls back to its national authority.
    fn good(&mut self, ledger: &mut Ledger) -> Result<Vec<Planned>> {
        let mut lines = Vec::new();
        for to in self.others.clone() {
            for number in 0..EACH {
                let days = u16::try_from(number).unwrap_or(0) % DAYS;
                let mut contact = self.contact(to, days)?;
                contact.extended = READINGS.to_vec();
                lines.push(if number % 10 == 0 {
                    self.stripped(contact, to, ledger)
                } else {
                    framed(contact, to)
                });
            }
        }
        let national = authority("826/0");
        for _ in 0..FEW {
            let contact = self.contact(authority("826/77"), 1)?;
            lines.push(match self.by == national {
                true => refused(contact, Verdict::OwnAuthority),
                false => framed(contact, national),
            });
        }
        Ok(lines)
    }

    /// A frame that also tells the phone's model, which must stay at home while the rest goes.
    fn stripped(&self, contact: Contact, to: Authority, ledger: &mut Ledger) -> Planned {
        let model = canary("model", &contact);
        let mut advertised = contact.clone();
        put_section(&mut advertised, MODEL, &model);
        ledger.add_canary(self.by, model);
        Planned { line: advertised.line(), plan: Plan::accepted(contact, to) }
    }

    fn refused_routes(&mut self) -> Result<Vec<Planned>> {
        let mut lines = Vec::new();
        for _ in 0..FEW {
            lines.push(refused(self.contact(self.by, 2)?, Verdict::OwnAuthority));
            lines.push(refused(self.contact(authority("999/0"), 2)?, Verdict::Unroutable));
            lines.push(refused(self.contact(authority("36/3"), 2)?, Verdict::Unroutable));
            lines.push(refused(self.byte_swapped()?, Verdict::Unroutable));
        }
        Ok(lines)
    }

    /// What the published phone libraries advertise: little endian.
    fn byte_swapped(&mut self) -> Result<Contact> {
        let mut contact = self.contact(authority("826/1"), 2)?;
        let [code, a, b, c, d] = contact.header;
        contact.header = [code, b, a, d, c];
        Ok(contact)
    }

    fn refused_dates(&mut self) -> Result<Vec<Planned>> {
        let mut lines = Vec::new();
        for number in 0..u16::try_from(FEW).unwrap_or(1) {
            let to = self.others[usize::from(number) % self.others.len()];
            lines.push(refused(self.contact(to, 16 + number)?, Verdict::TooOld));
            let mut contact = self.contact(to, 0)?;
            contact.day = self.today.plus(3 + number);
            lines.push(refused(contact, Verdict::FromTheFuture));
        }
        Ok(lines)
    }

    fn malformed(&mut self) -> Result<Vec<Planned>> {
        let mut lines = Vec::new();
        for to in self.others.clone() {
            let truncated = self.contact(to, 3)?;
            let frame = truncated.frame();
            let line = truncated.line_of(&frame[..frame.len() - 1]);
            lines.push(Planned { line, plan: Plan::refused(truncated, Verdict::Malformed) });
            let mut nobody = self.contact(to, 3)?;
            nobody.header[1..3].fill(0);
            let mut unknown_slot = self.contact(to, 3)?;
            unknown_slot.header[0] = 0x11;
            let mut long = self.contact(to, 3)?;
            put_section(&mut long, 0x3f, &[b'x'; 255]);
            put_section(&mut long, 0x80, &[b'x'; 231]);
            ensure!(long.frame().len() == 511, "one octet more than a frame may have");
            let zeros = Contact { token: vec![0; 16], ..self.contact(to, 3)? };
            lines.extend(
                [nobody, unknown_slot, long, zeros].map(|contact| refused(contact, Verdict::Malformed)),
            );
        }
        Ok(lines)
    }

    /// A field that is none of a report's, and premises in a report given field by field.
    fn forbidden(&mut self, ledger: &mut Ledger) -> Result<Vec<Planned>> {
        let mut lines = Vec::new();
        for to in self.others.clone() {
            let contact = self.contact(to, 4)?;
            let case = canary("case", &contact);
            let mut line = contact.mirror();
            line["case_id"] = String::from_utf8_lossy(&case).into();
            lines.push(Planned {
                line: line.to_string(),
                plan: Plan::refused(contact, Verdict::ForbiddenField),
            });
            let mut contact = self.contact(to, 4)?;
            let premises = canary("premises", &contact);
            put_section(&mut contact, PREMISES, &premises);
            lines.push(Planned {
                line: contact.full_line(),
                plan: Plan::refused(contact, Verdict::ForbiddenField),
            });
            [case, premises].into_iter().for_each(|text| ledger.add_canary(self.by, text));
        }
        Ok(lines)
    }

    /// One of each kind, with the octets of its report.
    fn by_hand(mut self, to: Authority) -> Result<Vec<(Plan, Vec<u8>)>> {
        let good = self.contact(to, 1)?;
        let mut plans = vec![Plan::accepted(good.clone(), to), Plan::refused(good, Verdict::Duplicate)];
        for issuer in ["999/0", "36/3"] {
            plans.push(Plan::refused(self.contact(authority(issuer), 1)?, Verdict::Unroutable));
        }
        plans.push(Plan::refused(self.byte_swapped()?, Verdict::Unroutable));
        plans.push(Plan::refused(self.contact(self.by, 1)?, Verdict::OwnAuthority));
        plans.push(Plan::refused(self.contact(to, 16)?, Verdict::TooOld));
        let early = Contact { day: self.today.plus(3), ..self.contact(to, 0)? };
        plans.push(Plan::refused(early, Verdict::FromTheFuture));
        let mut premises = self.contact(to, 1)?;
        put_section(&mut premises, PREMISES, b"a known place");
        plans.push(Plan::refused(premises, Verdict::ForbiddenField));
        plans.extend(self.malformed_by_hand(to)?);
        let mut reports: Vec<_> = plans.into_iter().map(|plan| (plan.contact.octets(), plan)).collect();
        let truncated = self.contact(to, 1)?;
        let octets = truncated.octets();
        reports.push((octets[..octets.len() - 1].to_vec(), Plan::refused(truncated, Verdict::Malformed)));
        Ok(reports.into_iter().map(|(octets, plan)| (plan, octets)).collect())
    }

    fn malformed_by_hand(&mut self, to: Authority) -> Result<Vec<Plan>> {
        let zeros = Contact { token: vec![0; 16], ..self.contact(to, 1)? };
        let mut nobody = self.contact(to, 1)?;
        nobody.header[1..3].fill(0);
        let mut unknown_slot = self.contact(to, 1)?;
        unknown_slot.header[0] = 0x11;
        let mut long = self.contact(to, 1)?;
        long.token.resize(506, b'x');
        let bad = [zeros, nobody, unknown_slot, long];
        Ok(bad.map(|contact| Plan::refused(contact, Verdict::Malformed)).into())
    }
}

fn framed(contact: Contact, to: Authority) -> Planned {
    Planned { line: contact.line(), plan: Plan::accepted(contact, to) }
}

fn refused(contact: Contact, verdict: Verdict) -> Planned {
    Planned { line: contact.line(), plan: Plan::refused(contact, verdict) }
}

/// A text that stands nowhere else.
fn canary(what: &str, contact: &Contact) -> Vec<u8> {
    let own: Vec<_> = contact.token.iter().map(|octet| octet.rotate_left(3)).collect();
    format!("canary {what} {}", hex::encode(own)).into_bytes()
}

fn put_section(contact: &mut Contact, code: u8, value: &[u8]) {
    contact.extended.extend([code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    contact.extended.extend_from_slice(value);
}
