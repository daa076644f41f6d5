//! `gateway store export` and `gateway store import`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use gateway::store::StoreError;
use gateway::store::archive::{self, ArchiveError, Contents};
use gateway::store::upkeep::Upkeep;

use super::report::Progress;
use super::{Broken, DAMAGED, Which};

/// Octets that go to the disk at once.
const BUFFER: usize = 1 << 20;

pub(super) async fn export(which: &Which, to: &Path) -> Result<u8, Broken> {
    let store = which.open_any().await?;
    let unwritable = |source| ArchiveError::File { doing: "write", source };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unwritable)?;
    let written = write(&*store, file).await.and_then(|written| {
        let parent = to.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|folder| folder.sync_all());
        synced.map_err(|source| unwritable(source).into()).map(|()| written)
    });
    store.close().await?;
    let (contents, damaged) = match written {
        Ok(written) => written,
        Err(broken) => {
            // Half an archive is refused by its reader; better if nobody meets it.
            let _ = fs::remove_file(to);
            return Err(broken);
        }
    };
    for error in &damaged {
        eprintln!("left out: {error}");
    }
    println!("{} written: {}", to.display(), shown(contents));
    Ok(if damaged.is_empty() { 0 } else { DAMAGED })
}

async fn write(store: &dyn Upkeep, file: File) -> Result<(Contents, Vec<StoreError>), Broken> {
    let (progress, mut damaged) = (Progress::new(), Vec::new());
    let to = BufWriter::with_capacity(BUFFER, file);
    let mut note = |error| damaged.push(error);
    let (to, contents) =
        archive::export(store, to, &mut note, &mut |contents| progress.say(|| shown(contents))).await?;
    let unwritable = |source| ArchiveError::File { doing: "write", source };
    let file = to.into_inner().map_err(|error| unwritable(error.into_error()))?;
    file.sync_all().map_err(unwritable)?;
    Ok((contents, damaged))
}

pub(super) async fn import(which: &Which, from: &Path) -> Result<u8, Broken> {
    let file = File::open(from).map_err(|source| ArchiveError::File { doing: "read", source })?;
    let store = which.make_any().await?;
    let progress = Progress::new();
    let from = BufReader::with_capacity(BUFFER, file);
    let taken = archive::import(from, &*store, &mut |contents| progress.say(|| shown(contents))).await;
    drop(progress);
    store.close().await?;
    println!("the store has: {}", shown(taken?));
    Ok(0)
}

fn shown(contents: Contents) -> String {
    let Contents { streams, entries, lost, cursors, answers } = contents;
    let lost = if lost == 0 { String::new() } else { format!(" ({lost} are not there)") };
    format!("{streams} streams, {entries} entries{lost}, {cursors} cursors, {answers} answers")
}
