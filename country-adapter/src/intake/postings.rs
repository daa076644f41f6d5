//! What phones get: entries in the queue of the lists, from which the next increment is made.

use pki::disk::DiskError;

use super::assess::Event;
use super::outlet::{Folder, Outlet};
use super::piece::{Piece, PieceName};
use crate::lists::{Advice, Entry, ListKind, queue};
use crate::phones::case_code::Degree;
use proto::report::IllKey;

/// The queue of the lists.
pub struct Postings(Folder);

impl Postings {
    /// Writes into the queue's folder.
    #[must_use]
    pub fn new(folder: Folder) -> Self {
        Self(folder)
    }
}

impl Outlet for Postings {
    fn stage(&self, piece: &Piece<'_>) -> Result<(), DiskError> {
        let entries: Vec<_> =
            piece.events().iter().filter_map(|event| entry(piece.source().degree(), event)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.0.write(piece.name(), |file| {
            entries.iter().try_for_each(|(kind, entry)| file.write_all(&queue::record(*kind, entry)))
        })
    }

    fn publish(&self, name: &PieceName) -> Result<(), DiskError> {
        self.0.publish(name)
    }

    fn discard(&self, name: &PieceName) -> Result<(), DiskError> {
        self.0.discard(name)
    }

    fn staged(&self) -> Result<Vec<PieceName>, DiskError> {
        self.0.staged()
    }
}

/// What of an event phones can recognise. Nothing of where it was reported is in it.
fn entry(degree: Degree, event: &Event<'_>) -> Option<(ListKind, Entry)> {
    match event {
        // Who was only exposed warns nobody of a risk: the phone is told no score (`herald.md` 7).
        Event::Contact(contact) if degree == Degree::Second => {
            let known = contact.opened.as_ref()?.entry();
            let advice = Entry::advice(known.confirmation, known.code, known.day, Advice::SecondDegree);
            Some((ListKind::Advice, advice))
        }
        Event::Visit(_) | Event::Key(_) if degree == Degree::Second => None,
        Event::Contact(contact) => match &contact.opened {
            Some(opened) => Some((ListKind::Contacts, Entry::contact(opened.entry(), contact.subtotal))),
            None => {
                let identifier = contact.report.token.octets().try_into().ok()?;
                let entry = Entry::identifier(identifier, contact.report.day, contact.subtotal);
                Some((ListKind::Contacts, entry))
            }
        },
        Event::Visit(report) => Entry::visit(report).map(|entry| (ListKind::Venues, entry)),
        Event::Key(key) => match key.key {
            IllKey::Simple(..) => Entry::daily_key(key).map(|entry| (ListKind::DailyKeys, entry)),
            // GAEN's phones read export files.
            IllKey::Gaen(..) => None,
        },
        Event::Closed(_) => None,
    }
}
