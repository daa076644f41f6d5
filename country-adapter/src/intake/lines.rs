//! What the backend gets: newline-delimited JSON, one event a line.

use pki::disk::DiskError;
use proto::report::JsonReport;
use serde::Serialize;

use super::assess::{Contact, Event};
use super::outlet::{Folder, Outlet};
use super::piece::{Piece, PieceName, Source};
use crate::config::Approach;
use crate::phones::case_code::Degree;

/// The folder of the backend, or the queue of its webhook.
pub struct Lines {
    folder: Folder,
    approach: Approach,
}

/// A line.
#[derive(Serialize)]
struct Line {
    origin: u16,
    /// The batch that brought it, in hex; `upload` for a case of this authority.
    batch: String,
    report: JsonReport,
    /// 2 if the contact was with somebody who was exposed; absent if with somebody who is ill.
    #[serde(skip_serializing_if = "Option::is_none")]
    degree: Option<u8>,
    /// What was in the service token.
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<JsonPhone>,
    /// What it adds to the phone owner's risk, tenths of a metre-minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    subtotal: Option<u16>,
    /// The weights that it was computed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<u16>,
}

/// What a phone told its authority.
#[derive(Serialize)]
struct JsonPhone {
    /// The phone's own name, in hex; drawn afresh every 28 days.
    uuid: String,
    /// Where it is at home.
    area: String,
    /// Its make and model, in hex.
    model: String,
    /// The quarter of an hour of the exchange, counted from 1970.
    step: u32,
}

impl Lines {
    /// Writes events into a folder: all of them, or what phones cannot recognise.
    #[must_use]
    pub fn new(folder: Folder, approach: Approach) -> Self {
        Self { folder, approach }
    }

    fn takes(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Closed(_) => true,
            Event::Contact(_) | Event::Visit(_) => self.approach.hands_over(),
            // Only Simple's keys have a list; GAEN's go into export files, and to the backend as well.
            Event::Key(key) => {
                self.approach.hands_over() || !matches!(key.key, proto::report::IllKey::Simple(..))
            }
        }
    }
}

impl Outlet for Lines {
    fn stage(&self, piece: &Piece<'_>) -> Result<(), DiskError> {
        let events: Vec<_> = piece.events().iter().filter(|event| self.takes(event)).collect();
        if events.is_empty() {
            return Ok(());
        }
        self.folder.write(piece.name(), |file| {
            events.iter().try_for_each(|event| {
                serde_json::to_writer(&mut *file, &line(piece.source(), event))?;
                file.write_all(b"\n")
            })
        })
    }

    fn publish(&self, name: &PieceName) -> Result<(), DiskError> {
        self.folder.publish(name)
    }

    fn discard(&self, name: &PieceName) -> Result<(), DiskError> {
        self.folder.discard(name)
    }

    fn staged(&self) -> Result<Vec<PieceName>, DiskError> {
        self.folder.staged()
    }
}

fn line(source: Source, event: &Event<'_>) -> Line {
    let batch = match source {
        Source::Batch { id, .. } | Source::Again { batch: id, .. } => id.to_string(),
        Source::Upload { .. } => "upload".into(),
    };
    let contact = match event {
        Event::Contact(contact) => Some(contact),
        Event::Visit(_) | Event::Key(_) | Event::Closed(_) => None,
    };
    let scored = contact.filter(|_| source.degree() == Degree::First);
    Line {
        origin: source.origin().number(),
        batch,
        report: JsonReport::from_report(&event.report()),
        degree: (source.degree() == Degree::Second).then_some(Degree::Second.number()),
        phone: contact.and_then(|contact| phone(contact)),
        subtotal: scored.map(|contact| contact.subtotal.number()),
        mechanism: scored.map(|contact| contact.mechanism),
    }
}

fn phone(contact: &Contact<'_>) -> Option<JsonPhone> {
    let contents = contact.opened.as_ref()?.contents();
    let area = contents.area();
    let letters = area.octets().iter().filter(|letter| **letter != 0);
    Some(JsonPhone {
        uuid: hex::encode(contents.uuid().octets()),
        area: letters.map(|letter| char::from(*letter)).collect(),
        model: hex::encode(contents.model().octets()),
        step: contents.step().number(),
    })
}
