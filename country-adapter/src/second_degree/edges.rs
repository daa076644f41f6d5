//! What is kept of a case: which phones of this authority the ill person met, one file a case.
//!
//! `state/second-degree/edges/<random>.edges`: records of 40 octets, UUID 16, confirmation token 16, time code 4, day 2,
//! subtotal 2. Readable by the adapter's user alone; forgotten after 14 days. Neither the name nor the time of a file says
//! which upload it is of: a case code was given to somebody with a name.

use std::path::{Path, PathBuf};

use pki::disk::DiskError;
use proto::day::Day;
use zeroize::Zeroizing;

use super::DAYS;
use crate::durable::{self, Disk};
use crate::herald::secured::ConfirmationToken;
use crate::herald::secured::totp::TimeCode;
use crate::intake::{Event, Folder, Modes, Outlet, Piece, PieceName, Source};
use crate::phones::case_code::Degree;
use crate::risk::Subtotal;

const RECORD: usize = 40;
const ENDING: &str = ".edges";

/// Where cases are kept.
#[must_use]
pub fn edge_folder(state: &Path) -> PathBuf {
    state.join("second-degree").join("edges")
}

/// An outlet of the desk.
pub struct Edges(Folder);

/// One contact of a case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    /// The phone's own name.
    pub(super) phone: [u8; 16],
    /// By which the phone knows this contact.
    pub(super) token: ConfirmationToken,
    /// Shows the phone that its authority opened the service token.
    pub(super) code: TimeCode,
    /// When.
    pub(super) day: Day,
    /// How much it added.
    pub(super) subtotal: Subtotal,
}

impl Edges {
    /// Keeps cases in the adapter's directory.
    pub fn open(state: &Path, disk: Disk) -> Result<Self, DiskError> {
        Ok(Self(Folder::open(&edge_folder(state), disk, ENDING, Modes::PRIVATE)?))
    }
}

impl Outlet for Edges {
    fn stage(&self, piece: &Piece<'_>) -> Result<(), DiskError> {
        // What comes from abroad names no case, and who was only exposed is none.
        let is_case = matches!(piece.source(), Source::Upload { degree: Degree::First, .. });
        let edges: Vec<_> = piece.events().iter().filter(|_| is_case).filter_map(edge).collect();
        if edges.is_empty() {
            return Ok(());
        }
        self.0.write(piece.name(), |file| edges.iter().try_for_each(|edge| file.write_all(&*edge.octets())))
    }

    fn publish(&self, name: &PieceName) -> Result<(), DiskError> {
        self.0.publish_unnamed(name)
    }

    fn discard(&self, name: &PieceName) -> Result<(), DiskError> {
        self.0.discard(name)
    }

    fn staged(&self) -> Result<Vec<PieceName>, DiskError> {
        self.0.staged()
    }
}

fn edge(event: &Event<'_>) -> Option<Edge> {
    let Event::Contact(contact) = event else { return None };
    let opened = contact.opened.as_ref()?;
    let entry = opened.entry();
    Some(Edge {
        phone: *opened.contents().uuid().octets(),
        token: entry.confirmation,
        code: entry.code,
        day: entry.day,
        subtotal: contact.subtotal,
    })
}

impl Edge {
    fn octets(&self) -> Zeroizing<[u8; RECORD]> {
        let mut octets = Zeroizing::new([0; RECORD]);
        octets[..16].copy_from_slice(&self.phone);
        octets[16..32].copy_from_slice(self.token.octets());
        octets[32..36].copy_from_slice(&self.code.number().to_be_bytes());
        octets[36..38].copy_from_slice(&self.day.number().to_be_bytes());
        octets[38..].copy_from_slice(&self.subtotal.number().to_be_bytes());
        octets
    }

    fn parse(octets: &[u8; RECORD]) -> Option<Self> {
        let part = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let code = u32::from(part(32)) << 16 | u32::from(part(34));
        Some(Self {
            phone: octets[..16].try_into().ok()?,
            token: ConfirmationToken::new(octets[16..32].try_into().ok()?),
            code: TimeCode::new(code).ok()?,
            day: Day::new(part(36)),
            subtotal: Subtotal::new(part(38)),
        })
    }
}

#[cfg(test)]
pub(super) fn octets_for_tests(edge: &Edge) -> [u8; RECORD] {
    *edge.octets()
}

/// Shows every contact of the last 14 days: the number of its case, and what is known. A record that was not written so
/// is passed over.
pub(super) fn read(state: &Path, today: Day, mut visit: impl FnMut(u32, Edge)) -> Result<(), DiskError> {
    let folder = edge_folder(state);
    if !durable::is_there(&folder)? {
        return Ok(());
    }
    let files = durable::names(&folder)?.into_iter().filter(|name| name.ends_with(ENDING));
    for (case, name) in (0..).zip(files) {
        let octets = durable::read_if_there(&folder.join(name))?.map(Zeroizing::new).unwrap_or_default();
        let (records, _) = octets.as_chunks::<RECORD>();
        let recent = records.iter().filter_map(Edge::parse).filter(|edge| is_recent(edge.day, today));
        recent.for_each(|edge| visit(case, edge));
    }
    Ok(())
}

/// Removes cases whose contacts are all older than 14 days.
pub(crate) fn forget(state: &Path, disk: &Disk, today: Day) -> Result<(), DiskError> {
    let folder = edge_folder(state);
    if !durable::is_there(&folder)? {
        return Ok(());
    }
    for name in durable::names(&folder)?.into_iter().filter(|name| name.ends_with(ENDING)) {
        let path = folder.join(&name);
        let octets = durable::read_if_there(&path)?.map(Zeroizing::new).unwrap_or_default();
        let (records, _) = octets.as_chunks::<RECORD>();
        if !records.iter().filter_map(Edge::parse).any(|edge| is_recent(edge.day, today)) {
            disk.overwrite(&path, &vec![0; octets.len()])?;
            disk.remove(&path)?;
        }
    }
    Ok(())
}

fn is_recent(day: Day, today: Day) -> bool {
    day > today.minus(DAYS) && day <= today.plus(1)
}

#[cfg(test)]
mod edge_tests {
    use super::*;

    #[test]
    fn an_edge_reads_back() {
        let edge = Edge {
            phone: [1; 16],
            token: ConfirmationToken::new([2; 16]),
            code: TimeCode::new(0x7fff_fffe).unwrap(),
            day: Day::new(20_781),
            subtotal: Subtotal::new(71),
        };
        assert!(Edge::parse(&edge.octets()) == Some(edge));
        assert!(Edge::parse(&[0xff; RECORD]).is_none(), "a time code has 31 bits");
    }

    #[test]
    fn fourteen_days_count() {
        let today = Day::new(20_781);
        assert!(
            is_recent(today, today) && is_recent(today.minus(13), today) && is_recent(today.plus(1), today)
        );
        assert!(!is_recent(today.minus(14), today) && !is_recent(today.plus(2), today));
    }
}
