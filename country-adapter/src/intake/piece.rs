//! One piece of what arrives: a batch, or the contacts of a case, with what came of each of its reports.

use std::collections::BTreeMap;

use pki::sign::sha256;
use proto::ids::{BatchId, CountryCode, Sequence};

use super::assess::{Event, Refused};
use crate::phones::case_code::Degree;
use crate::receive::OpenedBatch;

proto::octet_id! {
    /// Names what comes of a case's upload: random, so that nobody who has the case code finds what the case met.
    UploadId, 16, "name of an upload"
}

impl UploadId {
    /// A fresh one from the operating system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(*crate::herald::secured::random())
    }
}

/// Where a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A country's gateway.
    Batch {
        /// Place in the delivery stream.
        position: u64,
        /// The country that sealed it.
        origin: CountryCode,
        /// Place in the stream from that country.
        sequence: Sequence,
        /// Its name.
        id: BatchId,
    },
    /// The same batch once more, because a person wants it.
    Again {
        /// The name of this repetition, always the same for a batch.
        id: UploadId,
        /// The country that sealed it.
        origin: CountryCode,
        /// Place in the stream from that country.
        sequence: Sequence,
        /// The batch's name.
        batch: BatchId,
    },
    /// A case of this authority.
    Upload {
        /// Its name.
        id: UploadId,
        /// This country.
        origin: CountryCode,
        /// Whether somebody is ill, or was exposed.
        degree: Degree,
    },
}

impl Source {
    pub(super) fn batch(batch: &OpenedBatch) -> Self {
        let (position, origin) = (batch.position(), batch.origin());
        Self::Batch { position, origin, sequence: batch.sequence(), id: batch.id() }
    }

    pub(super) fn again(batch: &OpenedBatch) -> (UploadId, Self) {
        let (origin, sequence, batch) = (batch.origin(), batch.sequence(), batch.id());
        let hash = digest(b"again", origin, sequence);
        let id = UploadId::from(*hash.first_chunk().expect("a hash has more than 16 octets"));
        (id, Self::Again { id, origin, sequence, batch })
    }

    /// The country that it comes from.
    #[must_use]
    pub fn origin(&self) -> CountryCode {
        match self {
            Self::Batch { origin, .. } | Self::Again { origin, .. } | Self::Upload { origin, .. } => *origin,
        }
    }

    /// Contacts of somebody who is ill, or of somebody who was exposed.
    #[must_use]
    pub fn degree(&self) -> Degree {
        match self {
            Self::Batch { .. } | Self::Again { .. } => Degree::First,
            Self::Upload { degree, .. } => *degree,
        }
    }

    /// What tells it from every other source, whenever it comes again.
    pub(super) fn digest(&self) -> [u8; 32] {
        match self {
            Self::Batch { origin, sequence, .. } => digest(b"batch", *origin, *sequence),
            Self::Again { origin, sequence, .. } => digest(b"again", *origin, *sequence),
            Self::Upload { id, .. } => sha256(&[&b"upload"[..], id.octets()].concat()),
        }
    }

    /// Of what a visit counts once: a batch that comes again is the same batch.
    pub(super) fn counted_of(&self) -> [u8; 32] {
        match self {
            Self::Again { origin, sequence, .. } => digest(b"batch", *origin, *sequence),
            Self::Batch { .. } | Self::Upload { .. } => self.digest(),
        }
    }

    fn name(&self) -> PieceName {
        PieceName(match self {
            Self::Batch { position, origin, sequence, .. } => format!("{position:010}-{origin}-{sequence}"),
            Self::Again { id, .. } => format!("again-{id}"),
            Self::Upload { id, .. } => format!("upload-{id}"),
        })
    }
}

fn digest(what: &[u8], origin: CountryCode, sequence: Sequence) -> [u8; 32] {
    sha256(&[what, &origin.number().to_be_bytes(), &sequence.number().to_be_bytes()].concat())
}

/// The name of a piece's files in every outlet, without an ending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceName(String);

/// What a piece's name says.
pub(super) enum What {
    Position(u64),
    Upload(UploadId),
}

impl PieceName {
    pub(super) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn what(&self) -> Option<What> {
        let (first, rest) = self.0.split_once('-')?;
        match first {
            "upload" | "again" => rest.parse().ok().map(What::Upload),
            _ => first.parse().ok().map(What::Position),
        }
    }
}

/// A piece that was assessed.
pub struct Piece<'a> {
    source: Source,
    name: PieceName,
    events: Vec<Event<'a>>,
    refused: BTreeMap<Refused, usize>,
}

impl<'a> Piece<'a> {
    pub(super) fn new(source: Source) -> Self {
        Self { source, name: source.name(), events: Vec::new(), refused: BTreeMap::new() }
    }

    pub(super) fn push(&mut self, event: Event<'a>) {
        self.events.push(event);
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        *self.refused.entry(refused).or_default() += 1;
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// What its files are called.
    #[must_use]
    pub fn name(&self) -> &PieceName {
        &self.name
    }

    /// What came of the reports that passed.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// How many were refused, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Refused, usize)> {
        self.refused.iter().map(|(refused, count)| (*refused, *count))
    }

    /// How many were refused for one reason.
    #[must_use]
    pub fn refused(&self, reason: Refused) -> usize {
        self.refused.get(&reason).copied().unwrap_or_default()
    }
}
