//! A power cut at any moment: all that was answered is there, and nothing is there by half.
//!
//! A process under load is watched by strace, and so is one that starts on what a power cut left. From its system calls
//! the folder is made again as a disk has it that lost power: what `fsync` or `fdatasync` covered, and nothing else or
//! some of all else. `sync_file_range` covers nothing.

mod disk;
mod load;
mod trace;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::disk::{Disk, Ignores, Survives};
use self::load::{Line, OTHER};
use self::trace::{Operation, Position, operations};
use super::*;

const MOMENTS: usize = 200;
/// After how many of them a process starts again, to lose power at each moment of its start, and at how many later ones.
const STARTS: usize = 5;
const LATER: usize = 10;
/// Names the folder of the load to the process that is watched.
const FOLDER: &str = "POWER_CUT_FOLDER";
const LOAD: &str = "store::sled::tests::power_cut::a_store_under_load_answers_every_push";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_under_load_answers_every_push() {
    let own = tempfile::tempdir().unwrap();
    let folder = std::env::var_os(FOLDER).map_or_else(|| own.path().to_owned(), PathBuf::from);
    load::run(&folder.join("store"), &folder.join("told")).await;
    let told = fs::read_to_string(folder.join("told")).unwrap();
    assert_eq!(told.lines().filter(|line| line.starts_with("pushed")).count(), 300);
}

/// What the process had told when the power went.
#[derive(Debug, Default, Clone)]
struct Told {
    lines: Vec<Line>,
}

impl Told {
    fn take(&mut self, operation: &Operation, told: &Path) {
        if let Operation::Write(path, Position::End, octets) = operation
            && path == told
        {
            self.lines.extend(String::from_utf8_lossy(octets).lines().filter_map(Line::parse));
        }
    }

    fn greatest(&self, of: impl Fn(&Line) -> Option<u64>) -> u64 {
        self.lines.iter().filter_map(of).max().unwrap_or(0)
    }
}

/// What a process does to a store.
struct Life {
    /// What it begins with, and what was told before.
    disk: Disk,
    told: Told,
    operations: Vec<Operation>,
}

impl Life {
    /// The load, run on what is in a folder.
    fn watched(folder: &Path, told: Told) -> Self {
        let (disk, trace) = (Disk::new(folder), folder.join("trace"));
        let ended = Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-e", trace::CALLS, "-o"])
            .args([trace.as_path(), std::env::current_exe().unwrap().as_path()])
            .args(["--exact", LOAD, "--test-threads=1"])
            .env(FOLDER, folder)
            .stdin(Stdio::null())
            .output()
            .expect("strace runs; install it with `apt-get install strace`");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        Self { disk, told, operations: operations(&fs::read(trace).unwrap()) }
    }

    /// How many operations it did before it told something.
    fn start(&self) -> usize {
        let told = self.disk.root().join("told");
        let tells = |operation: &Operation| matches!(operation, Operation::Write(path, ..) if *path == told);
        self.operations.iter().position(tells).unwrap()
    }

    /// The disk, and what was told, at each of these moments.
    fn at(&self, mut moments: Vec<usize>, ignores: Ignores) -> impl Iterator<Item = (usize, Disk, Told)> {
        moments.sort_unstable();
        let (mut disk, mut told) = (self.disk.clone().ignoring(ignores), self.told.clone());
        let mut done = 0;
        moments.into_iter().map(move |moment| {
            for operation in &self.operations[done..moment] {
                disk.apply(operation);
                told.take(operation, &self.disk.root().join("told"));
            }
            done = moment;
            (moment, disk.clone(), told.clone())
        })
    }

    /// Cuts the power at these moments, and checks what is left each time. Gives what was wrong first, if something was.
    async fn cut(&self, moments: Vec<usize>, ignores: Ignores, random: &mut StdRng) -> Result<(), String> {
        for (moment, disk, told) in self.at(moments, ignores) {
            // Of an index that lies about its syncs any octets would survive: it would be no index.
            let lies = ignores(&self.disk.root().join("store/index/db"));
            let modes: &[bool] = if lies { &[true] } else { &[true, false] };
            for strict in modes.iter().copied() {
                let left = tempfile::tempdir().unwrap();
                disk.cut(left.path(), if strict { Survives::Nothing } else { Survives::Some(random) });
                // Before the first answer it may be half made.
                let may_rebuild = lies || told.lines.is_empty();
                let checked = check(&left.path().join("store"), &told, may_rebuild).await;
                checked.map_err(|wrong| {
                    let of = self.operations.len();
                    format!("operation {moment} of {of}, only what was synced: {strict}: {wrong}")
                })?;
            }
        }
        Ok(())
    }
}

async fn check(root: &Path, told: &Told, may_rebuild: bool) -> Result<(), String> {
    let opened = SledStore::open_or_rebuild(root, SMALL, "cut").map_err(|error| error.to_string())?;
    let (store, rebuilt) = opened;
    if rebuilt.is_some() && !may_rebuild {
        return Err("the index did not open".to_owned());
    }
    let purging =
        told.greatest(|line| if let Line::Purging { through } = line { Some(*through) } else { None });
    let purged =
        told.greatest(|line| if let Line::Purged { through } = line { Some(*through) } else { None });
    let forgetting =
        told.greatest(|line| if let Line::Forgetting { before } = line { Some(*before) } else { None });
    for line in &told.lines {
        let Line::Pushed { task, push, first, second } = line else { continue };
        for (stream, sequence) in [(STREAM, *first), (OTHER, *second)] {
            let entry = store.find(stream, sequence).await.map_err(|error| error.to_string())?;
            let is_there = entry.is_some_and(|entry| entry.body == load::body(*task, *push));
            if (sequence > purging && !is_there) || (sequence <= purged && is_there) {
                return Err(format!("{line:?}: of {stream} it is there: {is_there}"));
            }
        }
        let answer = store.once(&load::id(*task, *push)).await.map_err(|error| error.to_string())?;
        let is_there = answer.is_some_and(|answered| answered.answer == load::body(*task, *push));
        if u64::from(*push) >= forgetting && !is_there {
            return Err(format!("{line:?}: its id is not there"));
        }
        let cursor = store.cursor(load::cursor(*task)).await.map_err(|error| error.to_string())?;
        if cursor.through <= u64::from(*push) {
            return Err(format!("{line:?}: the cursor stands at {}", cursor.through));
        }
    }
    all_or_nothing(&store, purging, forgetting).await?;
    store.close().await.map_err(|error| error.to_string())
}

/// All entries of a stream. One that cannot be read is what a disk makes that lies of its syncs.
async fn read(store: &SledStore, stream: Stream) -> Result<Vec<Entry>, StoreError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.sequence);
        let page = store.after(stream, after, 100_000).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

/// Whatever is there of a push, acknowledged or not: with it is all of it.
async fn all_or_nothing(store: &SledStore, purging: u64, forgetting: u64) -> Result<(), String> {
    let mut pushes = [BTreeSet::new(), BTreeSet::new()];
    for (stream, pushes) in [STREAM, OTHER].into_iter().zip(&mut pushes) {
        let mut last: Option<Entry> = None;
        for entry in read(store, stream).await.map_err(|error| error.to_string())? {
            let follows =
                last.is_none_or(|last| entry.sequence == last.sequence + 1 && entry.head[..32] == last.link);
            if !follows {
                return Err(format!("entry {} of {stream} does not follow the one before", entry.sequence));
            }
            let (task, push) = (entry.body[0], u16::from_be_bytes([entry.body[1], entry.body[2]]));
            // The two entries of a push may have different numbers, and one be purged: what is behind is compared.
            if entry.sequence > purging + 10 && u64::from(push) >= forgetting {
                pushes.insert((task, push));
            }
            last = Some(entry);
        }
    }
    for (task, push) in pushes[0].union(&pushes[1]) {
        let is_there =
            store.once(&load::id(*task, *push)).await.map_err(|error| error.to_string())?.is_some();
        let cursor = store.cursor(load::cursor(*task)).await.map_err(|error| error.to_string())?;
        if !is_there || cursor.through <= u64::from(*push) {
            return Err(format!("push {push} of task {task} is there without its id or its cursor"));
        }
    }
    // Both are appended in one change, so their numbers are the same.
    if pushes[0] != pushes[1] {
        return Err(format!("only in one stream: {:?}", pushes[0].symmetric_difference(&pushes[1])));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_power_cut_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::watched(folder.path(), Told::default());
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let moments: Vec<usize> = (0..MOMENTS).map(|_| random.random_range(0..=life.operations.len())).collect();
    life.cut(moments.clone(), |_| false, &mut random).await.unwrap();

    // The same test on disks that only pretend to sync something: it sees what each sync is for.
    let ignored: [(&str, Ignores); 2] = [
        ("bodies", |path| path.extension().is_some_and(|extension| extension == "seg")),
        ("the names of segments", |path| path.ends_with("segments")),
    ];
    for (what, ignores) in ignored {
        let wrong = life.cut(moments.clone(), ignores, &mut random).await;
        println!("without syncs of {what}: {}", wrong.expect_err(what));
    }
    // What the index loses comes back from the segments.
    let lies: Ignores = |path| path.components().any(|part| part.as_os_str() == "index");
    life.cut(moments, lies, &mut random).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_while_a_store_starts_after_a_power_cut_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::watched(folder.path(), Told::default());
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let moments = (0..STARTS).map(|_| random.random_range(life.start()..=life.operations.len())).collect();
    for (_, disk, told) in life.at(moments, |_| false) {
        let folder = tempfile::tempdir().unwrap();
        disk.cut(folder.path(), Survives::Some(&mut random));
        let next = Life::watched(folder.path(), told);
        let start = next.start();
        let later = (0..LATER).map(|_| random.random_range(start..=next.operations.len()));
        next.cut((0..=start).chain(later).collect(), |_| false, &mut random).await.unwrap();
    }
}
