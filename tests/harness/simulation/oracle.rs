//! What must be true when a run has come to its end. Whatever is missing must be missing for a reason that the ledger
//! has worked out, and for every such reason it must be missing.

use std::collections::BTreeMap;

use gateway::outbound::receipts;
use pki::tls;
use pki::{dial, sign};
use proto::batch::{Receipt, Stage};
use proto::ids::{Authority, CountryCode};
use proto::wire;
use proto::wire::exchange_client::ExchangeClient;

use super::failure::{Failure, Kind, Told};
use super::ledger::{Entry, Received, Sent, Taken};
use super::letters::Token;
use super::world::World;
use crate::leaks::Secrets;

/// What the run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Reports that were pushed.
    pub pushed: usize,
    /// Reports that were accepted.
    pub accepted: usize,
    /// Reports that a backend has.
    pub delivered: usize,
    /// Accepted reports that nobody fetched within 14 days.
    pub expired: usize,
    /// Reports that were kept and not answered, and whose push came again when its id was forgotten and they were too
    /// old.
    pub forgotten: usize,
    /// Accepted reports whose key was destroyed 15 days after it was replaced, before they were fetched.
    pub closed: usize,
    /// Accepted reports that were more than 15 days old when they were fetched.
    pub late: usize,
    /// Batches that were refused and kept as evidence.
    pub evidence: usize,
    /// Answers to pushes that there is no space.
    pub without_room: usize,
}

/// A batch that a token is in.
#[derive(Debug, Clone, Copy)]
struct Way {
    origin: u16,
    to: Authority,
    at: u64,
}

impl World {
    /// Checks everything, and counts.
    pub(super) fn account(&self) -> Told<Account> {
        let forgotten = self.everything_accepted_is_sent_once()?;
        let mut account = Account { forgotten, ..self.everything_sent_is_received_or_expired()? };
        self.every_delivery_is_in_effect_once(&mut account)?;
        self.receipts_match()?;
        self.peers_see_what_the_ledger_has()?;
        self.nothing_leaks()?;
        account.pushed = self.ledger.pushes.iter().map(|pushed| pushed.letters.len()).sum();
        account.accepted = self.ledger.accepted().count();
        account.evidence = self.evidence()?;
        account.without_room = self.without_room;
        let Account { accepted, delivered, expired, closed, late, .. } = account;
        if accepted + forgotten == delivered + expired + closed + late {
            Ok(account)
        } else {
            Err(Failure::new(Kind::Lost, format!("the sums do not agree: {account:?}")))
        }
    }

    /// Gives how many were sent, and first answered when they were too old to be taken.
    fn everything_accepted_is_sent_once(&self) -> Told<usize> {
        let mut sent = self.ways();
        for pushed in &self.ledger.pushes {
            let origin = self.desks[&pushed.pusher].country;
            for (token, to) in &pushed.accepted {
                let (kind, what) = match sent.remove(token).unwrap_or_default().as_slice() {
                    [] => (Kind::Lost, format!("accepted at {}, in no batch", pushed.pusher)),
                    [way] if (way.origin, way.to) == (origin, *to) => continue,
                    [way] => (Kind::Misdelivered, format!("goes {way:?}, not to {to}")),
                    ways => (Kind::Doubled, format!("goes {ways:?}")),
                };
                return found(kind, token, what);
            }
        }
        let count = sent.len();
        for (token, ways) in sent {
            match ways.as_slice() {
                [way] if self.ledger.was_forgotten(&token, way.at) => {}
                [_] => return found(Kind::Misdelivered, &token, format!("was not accepted, goes {ways:?}")),
                _ => return found(Kind::Doubled, &token, format!("goes {ways:?}")),
            }
        }
        Ok(count)
    }

    /// In which batches each token is.
    fn ways(&self) -> BTreeMap<Token, Vec<Way>> {
        let mut ways: BTreeMap<Token, Vec<Way>> = BTreeMap::new();
        for ((origin, _), outbox) in &self.ledger.outboxes {
            for Entry { at, what } in &outbox.entries {
                let way = Way { origin: *origin, to: what.to, at: *at };
                what.tokens.iter().for_each(|token| ways.entry(*token).or_default().push(way));
            }
        }
        ways
    }

    fn everything_sent_is_received_or_expired(&self) -> Told<Account> {
        let mut account = Account::default();
        for ((origin, to), outbox) in &self.ledger.outboxes {
            for (number, Entry { what, .. }) in (1..).zip(&outbox.entries) {
                if what.position.is_some() {
                    continue;
                }
                // The ledger has checked that nothing is purged before its time.
                if number > outbox.purged {
                    let detail = format!("batch {number} of {origin} has not come to {to}");
                    return Err(Failure::new(Kind::Lost, detail));
                }
                account.expired += what.tokens.len();
            }
        }
        Ok(account)
    }

    fn every_delivery_is_in_effect_once(&self, account: &mut Account) -> Told<()> {
        for (authority, desk) in &self.desks {
            let mut found = desk.delivered()?;
            let mut closed = 0;
            let inbox = self.ledger.inboxes.get(authority);
            for (position, entry) in (1..).zip(inbox.into_iter().flat_map(|inbox| &inbox.entries)) {
                let sent = self.sent(desk.country, &entry.what)?;
                match entry.what.taken {
                    Some(Taken::Opened(today)) => {
                        let is_late = |token: &&Token| self.ledger.is_out_of_time(token, today);
                        let (late, in_time): (Vec<_>, Vec<_>) = sent.tokens.iter().partition(is_late);
                        account.late += late.len();
                        account.delivered += in_time.len();
                        in_effect_once(*authority, &in_time, &mut found)?;
                    }
                    Some(Taken::Closed) => {
                        closed += 1;
                        account.closed += sent.tokens.len();
                    }
                    None if inbox.is_some_and(|inbox| position <= inbox.purged) => {
                        account.expired += sent.tokens.len();
                    }
                    None => {
                        let detail = format!("{authority} has not taken position {position}");
                        return Err(Failure::new(Kind::Lost, detail));
                    }
                }
            }
            if let Some((token, _)) = found.iter().next() {
                return self::found(
                    Kind::Misdelivered,
                    token,
                    format!("is at {authority}, which was not sent it"),
                );
            }
            if desk.quarantined() != closed {
                let detail = format!(
                    "{authority} has set {} batches aside, and {closed} were to be",
                    desk.quarantined()
                );
                return Err(Failure::new(Kind::Lost, detail));
            }
        }
        Ok(())
    }

    fn sent(&self, country: u16, received: &Received) -> Told<&Sent> {
        let outbox = self.ledger.outboxes.get(&(received.origin, country));
        let sent = outbox.and_then(|outbox| outbox.entry(received.sequence));
        let missing = || Failure::new(Kind::Chain, format!("{received:?} was never sent"));
        Ok(&sent.ok_or_else(missing)?.what)
    }

    /// The last receipt of each stage, as it lies at the origin, is signed, true, and the newest there can be.
    fn receipts_match(&self) -> Told<()> {
        for ((origin, by), outbox) in &self.ledger.outboxes {
            for (stage, name) in [(Stage::Stored, "stored"), (Stage::Delivered, "delivered")] {
                let wrong = |what: &str| {
                    Failure::new(Kind::Receipt, format!("{name} receipt of {by} at {origin}: {what}"))
                };
                let through = self.receipt((*origin, *by), stage).map_err(wrong)?;
                let hash = through.map(|(number, hash)| (outbox.entry(number), hash));
                if hash.is_some_and(|(entry, hash)| entry.is_none_or(|entry| entry.what.hash != hash)) {
                    return Err(wrong("its hash is of no batch that was sent"));
                }
                let due = self.due(*by, outbox.last(), stage, (*origin, *by));
                if through.map_or(0, |(number, _)| number) < due {
                    return Err(wrong(&format!("it ends at {through:?}, and {due} is done")));
                }
            }
        }
        Ok(())
    }

    /// Up to where a stage is done without doubt: the last batch came, and everything before it came and was taken.
    fn due(&self, by: u16, last: u64, stage: Stage, way: (u16, u16)) -> u64 {
        let outbox = &self.ledger.outboxes[&way];
        let is_done = |number: u64| {
            let Some(Entry { what, .. }) = outbox.entry(number) else { return false };
            let Some(position) = what.position else { return false };
            let inbox = &self.ledger.inboxes[&what.to];
            let taken = inbox.entry(position).and_then(|entry| entry.what.taken);
            // What its gateway gave up before it heard that it was taken, it can tell no origin of.
            stage == Stage::Stored || (taken.is_some() && !inbox.was_given_up(position))
        };
        debug_assert_eq!(by, way.1);
        let all_done = match stage {
            Stage::Stored => last > 0 && is_done(last),
            Stage::Delivered => (1..=last).all(is_done),
        };
        if all_done { last } else { 0 }
    }

    /// The last receipt that an origin has of a country.
    fn receipt(
        &self,
        (origin, by): (u16, u16),
        stage: Stage,
    ) -> Result<Option<(u64, [u8; 32])>, &'static str> {
        let Some(running) = &self.doors[&origin].running else { return Err("its gateway does not run") };
        let country = CountryCode::new(by).map_err(|_| "it is of nobody")?;
        let last = receipts::last(&running.node, country, stage);
        let last = self.runtime.block_on(last).map_err(|_| "the store does not give it")?;
        let Some(octets) = last else { return Ok(None) };
        let message: wire::AcknowledgeRequest =
            prost::Message::decode(octets).map_err(|_| "it is no receipt")?;
        let signature = proto::batch::signature(&message.signature).map_err(|_| "it has no signature")?;
        let signer = self.charter.country(by).signing.public();
        signer
            .check(Receipt::DOMAIN, &message.receipt, &signature)
            .map_err(|sign::BadSignature| "its signature does not fit")?;
        let receipt = Receipt::parse(&message.receipt).map_err(|_| "it does not parse")?;
        let is_of = (receipt.origin.number(), receipt.destination.number(), receipt.stage);
        if is_of != (origin, by, stage) {
            return Err("it is about something else");
        }
        Ok(Some((receipt.through.number(), receipt.manifest_hash)))
    }

    /// Every gateway serves each peer exactly what is still kept for it.
    fn peers_see_what_the_ledger_has(&self) -> Told<()> {
        let trust = self.charter.read_list(&self.first_list())?;
        for ((origin, to), outbox) in &self.ledger.outboxes {
            let Some(running) = &self.doors[origin].running else { continue };
            let country = trust.country(CountryCode::new(*origin)?);
            let Some(country) = country else { continue };
            let tls = tls::client_config(&self.charter.country(*to).gateway, country)?;
            let endpoint = format!("https://{}", running.to_peers);
            let mut after = outbox.purged;
            self.runtime.block_on(async {
                let mut client = ExchangeClient::new(dial::channel(&endpoint, tls.into())?);
                while after < outbox.last() {
                    let request = wire::PullRequest { after, max_bytes: 1 << 20, wait_ms: 0 };
                    for batch in client.pull(request).await?.into_inner().batches {
                        after += 1;
                        let known = outbox.entry(after).map(|entry| entry.what.hash);
                        if known != Some(sign::sha256(&batch.manifest)) {
                            let detail = format!("{origin} serves {to} something else at {after}");
                            return Err(Failure::new(Kind::Chain, detail));
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// No gateway has ever written anything of a report: not in any life's store or state, nor in its log.
    fn nothing_leaks(&self) -> Told<()> {
        let mark = self.ledger.tokens.mark();
        let secrets = Secrets::new(&[mark])?;
        for (code, door) in &self.doors {
            if door.place.holds(&mark)? {
                let detail = format!("part of a token stands in the database of {code}");
                return Err(Failure::new(Kind::Leaked, detail));
            }
            if let Some(leak) = secrets.find_below(&self.folder().join(code.to_string()))?.first() {
                let file = leak.file.strip_prefix(self.folder()).unwrap_or(&leak.file);
                return Err(Failure::new(
                    Kind::Leaked,
                    format!("part of a token stands in {}", file.display()),
                ));
            }
        }
        Ok(())
    }

    fn evidence(&self) -> Told<usize> {
        let mut files = 0;
        for door in self.doors.values() {
            let folder = door.life().join("state/evidence");
            files += if folder.is_dir() { crate::leaks::files_below(&folder)?.len() } else { 0 };
        }
        Ok(files)
    }
}

fn in_effect_once(authority: Authority, tokens: &[&Token], found: &mut BTreeMap<Token, usize>) -> Told<()> {
    for token in tokens.iter().copied() {
        match found.remove(token) {
            Some(1) => {}
            None => {
                return self::found(
                    Kind::Lost,
                    token,
                    format!("was taken by {authority}, which does not have it"),
                );
            }
            Some(times) => {
                return self::found(Kind::Doubled, token, format!("is {times} times at {authority}"));
            }
        }
    }
    Ok(())
}

fn found<T>(kind: Kind, token: &Token, what: String) -> Told<T> {
    Err(Failure::new(kind, format!("token {}: {what}", hex::encode(token))))
}
