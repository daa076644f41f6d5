//! Making the index anew from the segments, when it does not open or has lost commits.
//!
//! The segments say all that the index knows, so nothing is lost as long as they are whole: then a start does this by
//! itself. If they are not, it is done only on request, because what is lost has to be dealt with. The old index and
//! all segments are set aside first; nothing is deleted.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{info, warn};

use super::{
    SledOptions, SledStore,
    health::Health,
    index::Index,
    layout::{self, Layout, failed, make_directory, sync_directory},
    ledger::Ledger,
    rows::Rows,
    segment::{Active, Segments},
    survey::{Survey, Surveyor},
    writer::Draft,
};
use crate::store::StoreError;

/// Octets of the index that are kept in memory while it is made.
const CACHE: u64 = 16 << 20;

/// Whether an index may be made that does not lead to everything that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losses {
    /// Not: then nothing is changed.
    Refuse,
    /// It may; what is lost is named.
    Accept,
}

/// An index that was made anew.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// What the segments had.
    pub survey: Survey,
    /// Where the old index and all segments are.
    pub aside: PathBuf,
}

impl SledStore {
    /// Opens the store. If its index is not usable, and the segments have all that it knew, makes it anew; `stamp`
    /// names the folder within the store where the old one goes.
    ///
    /// # Errors
    /// As [`SledStore::open`]; [`StoreError::Corrupt`] if something would be lost.
    pub fn open_or_rebuild(
        directory: &Path,
        options: SledOptions,
        stamp: &str,
    ) -> Result<(Self, Option<Rebuilt>), StoreError> {
        or_rebuild(directory, stamp, || Self::open(directory, options))
    }

    /// The same for who does what is [`owed`].
    pub fn open_owing(directory: &Path, options: SledOptions, stamp: &str) -> Result<Self, StoreError> {
        let open = || Self::open_in(Layout::open_owing(directory)?, options);
        or_rebuild(directory, stamp, open).map(|(store, _)| store)
    }
}

fn or_rebuild(
    directory: &Path,
    stamp: &str,
    open: impl Fn() -> Result<SledStore, StoreError>,
) -> Result<(SledStore, Option<Rebuilt>), StoreError> {
    let what = match open() {
        Err(StoreError::Corrupt { what }) => what,
        Err(StoreError::Broken) => format!("{}: its index cannot be read", directory.display()),
        opened => return opened.map(|store| (store, None)),
    };
    warn!(%what, "the store does not open; looking whether its index can be made anew");
    match rebuild(directory, Losses::Refuse, stamp)? {
        Ok(rebuilt) => Ok((open()?, Some(rebuilt))),
        Err(survey) => Err(StoreError::Corrupt { what: format!("{what}; {survey}") }),
    }
}

/// Notes that losses of a store that nobody has open are accepted, before anything is changed for it: made anew, it shows
/// none. Until what follows from them is [`paid`] nobody opens it but with [`SledStore::open_owing`].
pub fn owe(directory: &Path, note: &str) -> Result<(), StoreError> {
    make_directory(directory)?;
    Layout::open_segments(directory)?.owe(note)
}

/// What was noted if losses were accepted and what follows from them is not done.
pub fn owed(directory: &Path) -> Result<Option<String>, StoreError> {
    layout::owed(directory)
}

/// An error if something is [`owed`].
pub fn check_owed(directory: &Path) -> Result<(), StoreError> {
    layout::check_owed(directory)
}

/// Notes that all that followed is done.
pub fn paid(directory: &Path) -> Result<(), StoreError> {
    Layout::open_segments(directory)?.paid()
}

/// What the segments of a store have that nobody has open; changes nothing of it.
pub fn survey(directory: &Path) -> Result<Survey, StoreError> {
    let layout = Layout::open_segments(directory)?;
    let (_, _, survey) = surveyed(&layout)?;
    fs::remove_dir_all(fresh_index(&layout)).map_err(failed("remove", &fresh_index(&layout)))?;
    Ok(survey)
}

/// Makes the index of a store anew that nobody has open. If losses are refused and there are some, the survey comes
/// back and the store is as it was.
pub fn rebuild(directory: &Path, losses: Losses, stamp: &str) -> Result<Result<Rebuilt, Survey>, StoreError> {
    let layout = Layout::open_segments(directory)?;
    let (index, mut ledger, mut survey) = surveyed(&layout)?;
    if losses == Losses::Refuse && !survey.is_lossless() {
        drop(index);
        fs::remove_dir_all(fresh_index(&layout)).map_err(failed("remove", &fresh_index(&layout)))?;
        return Ok(Err(survey));
    }
    survey.give_up();
    let aside = set_aside(&layout, &survey, stamp)?;
    if let Some(torn) = survey.torn {
        Segments::new(layout.segments()).cut(torn.segment, torn.offset)?;
    }
    begin_segment(&layout, &index, &mut ledger, &survey)?;
    drop(index);
    let (old, fresh) = (layout.index(), fresh_index(&layout));
    if old.is_dir() {
        let to = aside.join("index");
        fs::rename(&old, &to).map_err(failed("set aside", &old))?;
        sync_directory(&aside)?;
    }
    fs::rename(&fresh, &old).map_err(failed("put in place", &fresh))?;
    sync_directory(layout.root())?;
    layout.renew_format()?;
    info!(aside = %aside.display(), entries = survey.entries, answers = survey.answers, "the index was made anew");
    Ok(Ok(Rebuilt { survey, aside }))
}

fn fresh_index(layout: &Layout) -> PathBuf {
    layout.root().join("index.fresh")
}

/// Reads all segments into a fresh index beside the old one.
fn surveyed(layout: &Layout) -> Result<(Index, Ledger, Survey), StoreError> {
    let fresh = fresh_index(layout);
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(failed("remove", &fresh))?;
    }
    make_directory(&fresh)?;
    let index = Index::open(fresh, CACHE, Arc::new(Health::default()))?;
    let segments = Segments::new(layout.segments());
    let surveyor = Surveyor::new(&index, &segments);
    let (ledger, survey) = surveyor.survey()?;
    Ok((index, ledger, survey))
}

/// Names everything that the store is made of in a folder within it: the store may be a disk of its own, and what is
/// beside it another one. Segments are linked, so that they take no space; only those that may be cut are copied: the last
/// one, and the one that is torn.
fn set_aside(layout: &Layout, survey: &Survey, stamp: &str) -> Result<PathBuf, StoreError> {
    let named = |nth: u32| match nth {
        1 => format!("set-aside-{stamp}"),
        nth => format!("set-aside-{stamp}-{nth}"),
    };
    let mut all = (1..).map(|nth| layout.root().join(named(nth)));
    let aside = all.find(|path| !path.exists()).unwrap_or_default();
    fill_aside(layout, survey, &aside).inspect_err(|_| {
        // Nothing but this refers to it, and it may hold the space that was missing.
        let _ = fs::remove_dir_all(&aside);
    })?;
    Ok(aside)
}

fn fill_aside(layout: &Layout, survey: &Survey, aside: &Path) -> Result<(), StoreError> {
    let to = aside.join("segments");
    make_directory(aside)?;
    make_directory(&to)?;
    let (old, new) = (Segments::new(layout.segments()), Segments::new(to.clone()));
    let torn = survey.torn.map(|torn| torn.segment);
    for segment in old.list()? {
        let (from, to) = (old.path(segment), new.path(segment));
        let kept = if [survey.newest, torn].contains(&Some(segment)) {
            fs::copy(&from, &to).and_then(|_| fs::File::open(&to)?.sync_all())
        } else {
            fs::hard_link(&from, &to)
        };
        kept.map_err(failed("set aside", &from))?;
    }
    let format = layout.root().join("FORMAT");
    if format.exists() {
        fs::copy(&format, aside.join("FORMAT")).map_err(failed("set aside", &format))?;
    }
    sync_directory(&to)?;
    sync_directory(aside)
}

/// Begins a segment with all that the others say, and puts the index on disk.
fn begin_segment(
    layout: &Layout,
    index: &Index,
    ledger: &mut Ledger,
    survey: &Survey,
) -> Result<(), StoreError> {
    let segments = Segments::new(layout.segments());
    let number = survey.newest.unwrap_or(0) + 1;
    let mut active = Active::create(&segments, number)?;
    let mut draft = Draft::begin(number, 0)?;
    draft.push_state(&survey.state)?;
    draft.end(&survey.state)?;
    active.append(&draft.into_records())?;
    active.trim();
    ledger.reaches(number, active.end());
    let mut rows = Rows::default();
    survey.rows(&mut rows);
    ledger.settle(number, &mut rows);
    index.apply(rows)
}
