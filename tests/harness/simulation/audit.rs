//! Looks at what a gateway's store holds, after every step: each batch is verified and opened as its destination would,
//! so that the ledger knows what lies where without asking the gateway.

use std::collections::BTreeMap;

use gateway::names;
use gateway::store;
use pki::sign::sha256;
use proto::batch::{Manifest, SignedBatch, Stage};
use proto::body::Reports;
use proto::ids::{Authority, CountryCode};
use proto::malformed::Malformed;
use proto::report::Report;

use super::charter::Charter;
use super::desk::Desk;
use super::door::Running;
use super::failure::{Failure, Kind, Told};
use super::ledger::{Entry, Ledger, Received, Sent};
use super::letters::Token;

/// Octets that are read at once: everything.
const ALL: usize = 1 << 30;

/// Whose gateway is looked at, and when.
pub(super) struct Auditor<'a> {
    /// Everybody's keys.
    pub(super) charter: &'a Charter,
    /// Who can open what.
    pub(super) desks: &'a BTreeMap<Authority, Desk>,
    /// The gateway's country.
    pub(super) country: u16,
    /// Its clock now.
    pub(super) now: u64,
    /// The latest that its clock ever was.
    pub(super) latest: u64,
}

impl Auditor<'_> {
    /// Brings the ledger up to date with a store.
    pub(super) async fn look(&self, gateway: &Running, ledger: &mut Ledger) -> Told<()> {
        let store = gateway.store();
        for stream in store.streams().await? {
            if let Some(to) = names::outbox_country(stream) {
                let known = ledger.outboxes.entry((self.country, to.number())).or_default().last();
                for entry in store.after(stream, known, ALL).await? {
                    self.sent(to, &entry, ledger)?;
                }
                let through = store.cursor(names::acknowledged(to, Stage::Delivered)).await?.through;
                self.receipt_is_true((to, through, Stage::Delivered), ledger)?;
                let stored = store.cursor(names::acknowledged(to, Stage::Stored)).await?.through;
                self.receipt_is_true((to, stored, Stage::Stored), ledger)?;
                let outbox = ledger.outboxes.entry((self.country, to.number())).or_default();
                outbox.note_acknowledged(through, self.now);
                let first = first_kept(store.as_ref(), stream).await?;
                self.purged(outbox.note_purged(first, self.latest), &format!("outbox for {to}"))?;
            } else if let Some(of) = names::inbox_authority(stream) {
                let known = ledger.inboxes.entry(of).or_default().last();
                for entry in store.after(stream, known, ALL).await? {
                    self.received(of, &entry, ledger)?;
                }
                let through = store.cursor(names::position(of)).await?.through;
                let inbox = ledger.inboxes.entry(of).or_default();
                inbox.note_acknowledged(through, self.now);
                let first = first_kept(store.as_ref(), stream).await?;
                self.purged(inbox.note_purged(first, self.latest), &format!("inbox of {of}"))?;
            }
        }
        Ok(())
    }

    /// Nothing may be left that was to be purged now.
    pub(super) fn nothing_is_overdue(&self, ledger: &Ledger) -> Told<()> {
        let of_country = |authority: &Authority| self.desks.get(authority).map(|desk| desk.country);
        let outboxes = ledger.outboxes.iter().filter(|((origin, _), _)| *origin == self.country);
        let outboxes =
            outboxes.filter_map(|((_, to), stream)| Some((to.to_string(), stream.overdue(self.now)?)));
        let inboxes = ledger.inboxes.iter().filter(|(of, _)| of_country(of) == Some(self.country));
        let inboxes = inboxes.filter_map(|(of, stream)| Some((of.to_string(), stream.overdue(self.now)?)));
        match outboxes.chain(inboxes).next() {
            Some((stream, number)) => {
                let detail = format!("gateway {} keeps entry {number} of {stream} too long", self.country);
                Err(Failure::new(Kind::Retention, detail))
            }
            None => Ok(()),
        }
    }

    fn purged(&self, noted: Result<(), String>, stream: &str) -> Told<()> {
        let named = |cause| format!("gateway {}, {stream}: {cause}", self.country);
        noted.map_err(|cause| Failure::new(Kind::Retention, named(cause)))
    }

    fn sent(&self, to: CountryCode, entry: &store::Entry, ledger: &mut Ledger) -> Told<()> {
        let letters = &ledger.letters;
        let outbox = ledger.outboxes.entry((self.country, to.number())).or_default();
        let chain = |what: &str| {
            Failure::new(Kind::Chain, format!("{} to {to}, {}: {what}", self.country, entry.sequence))
        };
        let batch = SignedBatch::from_parts(&entry.head, entry.body.clone())?;
        let signer = self.charter.country(self.country).signing.public();
        signer
            .check(Manifest::DOMAIN, &batch.manifest, &batch.signature)
            .map_err(|_| chain("the signature does not fit"))?;
        let manifest = Manifest::parse(&batch.manifest)?;
        let previous = outbox.entries.last().map_or([0; 32], |last| last.what.hash);
        if manifest.sequence.number() != outbox.last() + 1 || entry.sequence != outbox.last() + 1 {
            return Err(chain("the number does not follow"));
        }
        if manifest.previous != previous || entry.link != sha256(&batch.manifest) {
            return Err(chain("the link does not fit"));
        }
        if manifest.sealed_hash != sha256(&batch.sealed)
            || entry.at / 60 != u64::from(manifest.header.sealed_at)
        {
            return Err(chain("body or time are not those of the manifest"));
        }
        let (destination, key) = (manifest.header.destination, manifest.header.key);
        let desk = self.desks.get(&destination).filter(|desk| desk.country == to.number());
        let desk = desk.ok_or_else(|| chain("the destination is not of that country"))?;
        let private = desk.key(key).ok_or_else(|| chain("it is sealed to a key that nobody had"))?;
        let text = private.open_batch(&manifest, &batch.sealed)?;
        let token = |report: Result<&[u8], Malformed>| -> Told<Token> { token(report?, letters) };
        let tokens = Reports::of_batch(&text).map(token).collect::<Told<_>>()?;
        let what = Sent { hash: entry.link, to: destination, key, tokens, position: None };
        outbox.entries.push(Entry { at: entry.at, what });
        Ok(())
    }

    fn received(&self, of: Authority, entry: &store::Entry, ledger: &mut Ledger) -> Told<()> {
        let batch = SignedBatch::from_parts(&entry.head, entry.body.clone())?;
        let manifest = Manifest::parse(&batch.manifest)?;
        let (origin, sequence) = (manifest.header.origin.number(), manifest.sequence.number());
        let named =
            |what: &str| format!("inbox of {of}, {}: batch {sequence} of {origin} {what}", entry.sequence);
        let is_here = self.desks.get(&of).is_some_and(|desk| desk.country == self.country);
        if !is_here || manifest.header.destination != of {
            return Err(Failure::new(Kind::Misdelivered, named("does not belong here")));
        }
        let inbox = ledger.inboxes.entry(of).or_default();
        let before = inbox.entries.iter().rev().find(|entry| entry.what.origin == origin);
        if before.is_some_and(|before| before.what.sequence >= sequence) {
            return Err(Failure::new(Kind::Doubled, named("comes again or too late")));
        }
        if entry.sequence != inbox.last() + 1 {
            return Err(Failure::new(Kind::Chain, named("has a number that does not follow")));
        }
        let sent =
            ledger.outboxes.get_mut(&(origin, self.country)).and_then(|outbox| outbox.entry_mut(sequence));
        let sent = sent.filter(|sent| sent.what.hash == sha256(&batch.manifest) && sent.what.to == of);
        let is_whole = manifest.sealed_hash == sha256(&batch.sealed);
        let Some(sent) = sent.filter(|_| is_whole) else {
            return Err(Failure::new(Kind::Chain, named("is not what its origin sent")));
        };
        sent.what.position = Some(entry.sequence);
        inbox.entries.push(Entry { at: entry.at, what: Received { origin, sequence, taken: None } });
        Ok(())
    }

    /// What a country has acknowledged it has: received, or taken by its adapters, unless it was given up before.
    fn receipt_is_true(&self, (by, through, stage): (CountryCode, u64, Stage), ledger: &Ledger) -> Told<()> {
        let Some(outbox) = ledger.outboxes.get(&(self.country, by.number())) else { return Ok(()) };
        for number in outbox.acknowledged() + 1..=through {
            let sent = outbox.entry(number);
            let received = sent.and_then(|sent| {
                let position = sent.what.position?;
                Some((ledger.inboxes.get(&sent.what.to)?, position))
            });
            let is_true = match (received, stage) {
                (None, _) => number <= outbox.purged,
                (Some(_), Stage::Stored) => true,
                (Some((inbox, position)), Stage::Delivered) => {
                    let is_taken = inbox.entry(position).is_some_and(|entry| entry.what.taken.is_some());
                    is_taken || position <= inbox.purged
                }
            };
            if !is_true {
                let detail = format!("{by} told {} that {number} is {stage:?}, and it is not", self.country);
                return Err(Failure::new(Kind::Receipt, detail));
            }
        }
        Ok(())
    }
}

async fn first_kept(store: &dyn store::Store, stream: store::Stream) -> Told<u64> {
    let oldest = store.oldest(stream).await?;
    let last = store.tail(stream).borrow().last;
    Ok(oldest.map_or(last + 1, |(first, _)| first))
}

/// The token of a report, which must be as it was pushed.
fn token(octets: &[u8], letters: &BTreeMap<Token, (usize, Vec<u8>)>) -> Told<Token> {
    let unknown = || Failure::new(Kind::Misdelivered, "a report that nobody pushed");
    let Report::Contact(contact) = Report::decode(octets)? else { return Err(unknown()) };
    let token: Token = contact.token.octets().try_into().map_err(|_| unknown())?;
    if letters.get(&token).is_some_and(|(_, pushed)| pushed == octets) { Ok(token) } else { Err(unknown()) }
}
