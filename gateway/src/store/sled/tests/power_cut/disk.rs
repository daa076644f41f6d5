//! A disk that keeps what was synced, and of all else as much as it likes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

use super::trace::{Operation, Position};

/// What a file was asked for and nobody has synced.
#[derive(Debug, Clone)]
enum Pending {
    Write { nth: usize, at: u64, octets: Vec<u8> },
    Truncate { nth: usize, to: u64 },
}

/// A file, whatever its name is now.
#[derive(Debug, Default, Clone)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Its length as the process sees it.
    length: u64,
}

/// A name that came or went and whose directory was not synced since.
#[derive(Debug, Clone)]
struct Naming {
    nth: usize,
    path: PathBuf,
    inode: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

/// What survives of what was not synced.
pub(super) enum Survives<'a> {
    /// Nothing.
    Nothing,
    /// Of names a beginning, of writes any, in pieces of 512 octets.
    Some(&'a mut StdRng),
}

/// Says of which paths a disk only pretends to sync.
pub(super) type Ignores = fn(&Path) -> bool;

/// A folder on a disk, as its process sees it and as a power cut would leave it.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Naming>,
    done: usize,
    ignores: Ignores,
}

impl Disk {
    /// The disk below `root`: all that is there now is durable.
    pub(super) fn new(root: &Path) -> Self {
        let mut inodes = Vec::new();
        let mut names = BTreeMap::from([(root.to_owned(), Node::Directory)]);
        let mut unread = vec![root.to_owned()];
        while let Some(directory) = unread.pop() {
            for path in fs::read_dir(directory).unwrap().map(|item| item.unwrap().path()) {
                let node = if path.is_dir() {
                    unread.push(path.clone());
                    Node::Directory
                } else {
                    let durable = fs::read(&path).unwrap();
                    inodes.push(Inode { length: durable.len() as u64, durable, pending: Vec::new() });
                    Node::File(inodes.len() - 1)
                };
                names.insert(path, node);
            }
        }
        let durable = names.clone();
        Self {
            root: root.to_owned(),
            inodes,
            names,
            durable,
            pending: Vec::new(),
            done: 0,
            ignores: |_| false,
        }
    }

    /// The same disk, which only pretends to sync some paths.
    pub(super) fn ignoring(self, ignores: Ignores) -> Self {
        Self { ignores, ..self }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Does an operation; those elsewhere change nothing.
    pub(super) fn apply(&mut self, operation: &Operation) {
        let nth = self.done;
        self.done += 1;
        match operation {
            Operation::Create(path) if self.has(path) => drop(self.open(nth, path)),
            Operation::Truncate(path, to) if self.has(path) => {
                let inode = self.open(nth, path);
                if inode.length != *to {
                    inode.length = *to;
                    inode.pending.push(Pending::Truncate { nth, to: *to });
                }
            }
            Operation::Write(path, position, octets) if self.has(path) => {
                let inode = self.open(nth, path);
                let at = match position {
                    Position::At(at) => *at,
                    Position::End => inode.length,
                };
                inode.length = inode.length.max(at + octets.len() as u64);
                inode.pending.push(Pending::Write { nth, at, octets: octets.clone() });
            }
            Operation::Sync { path, since } if self.has(path) && !(self.ignores)(path) => {
                self.sync(path, *since);
            }
            Operation::MakeDirectory(path) if self.has(path) => self.name(nth, path, Some(Node::Directory)),
            Operation::Unlink(path) if self.has(path) => self.name(nth, path, None),
            Operation::Rename(from, to) if self.has(from) => {
                let inode = self.names.get(from).copied();
                assert!(inode != Some(Node::Directory), "no directory is renamed while a store is open");
                self.name(nth, from, None);
                self.name(nth, to, inode);
            }
            _ => {}
        }
    }

    fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    fn open(&mut self, nth: usize, path: &Path) -> &mut Inode {
        let inode = match self.names.get(path) {
            Some(Node::File(inode)) => *inode,
            Some(Node::Directory) => panic!("{} is a directory", path.display()),
            None => {
                self.inodes.push(Inode::default());
                self.name(nth, path, Some(Node::File(self.inodes.len() - 1)));
                self.inodes.len() - 1
            }
        };
        &mut self.inodes[inode]
    }

    fn name(&mut self, nth: usize, path: &Path, inode: Option<Node>) {
        match inode {
            Some(inode) => self.names.insert(path.to_owned(), inode),
            None => self.names.remove(path),
        };
        self.pending.push(Naming { nth, path: path.to_owned(), inode });
    }

    fn sync(&mut self, path: &Path, since: usize) {
        match self.names.get(path) {
            Some(Node::File(inode)) => self.inodes[*inode].sync(since),
            Some(Node::Directory) => {
                let (synced, rest) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition(|naming| naming.nth < since && naming.path.parent() == Some(path));
                self.pending = rest;
                apply_names(&mut self.durable, &synced);
            }
            None => {}
        }
    }

    /// Writes what a power cut now leaves into a folder.
    pub(super) fn cut(&self, into: &Path, mut survives: Survives<'_>) {
        let mut names = self.durable.clone();
        if let Survives::Some(random) = &mut survives {
            let some = random.random_range(0..=self.pending.len());
            apply_names(&mut names, &self.pending[..some]);
        }
        for (path, inode) in &names {
            let to = into.join(path.strip_prefix(&self.root).unwrap());
            // A name below a directory that is not on disk is not on disk.
            match inode {
                Node::Directory if to.parent().is_some_and(Path::is_dir) => fs::create_dir(&to).unwrap_or(()),
                Node::File(inode) if to.parent().is_some_and(Path::is_dir) => {
                    fs::write(&to, self.inodes[*inode].left(&mut survives)).unwrap();
                }
                _ => {}
            }
        }
    }
}

fn apply_names(names: &mut BTreeMap<PathBuf, Node>, namings: &[Naming]) {
    for Naming { path, inode, .. } in namings {
        match inode {
            Some(inode) => names.insert(path.clone(), *inode),
            None => names.remove(path),
        };
    }
}

impl Inode {
    fn sync(&mut self, since: usize) {
        let (synced, rest) = std::mem::take(&mut self.pending).into_iter().partition(|pending| {
            let (Pending::Write { nth, .. } | Pending::Truncate { nth, .. }) = pending;
            *nth < since
        });
        self.pending = rest;
        for pending in Vec::from_iter::<Vec<Pending>>(synced) {
            match pending {
                Pending::Write { at, octets, .. } => write(&mut self.durable, at, &octets),
                Pending::Truncate { to, .. } => self.durable.resize(to as usize, 0),
            }
        }
    }

    /// Its octets after a power cut.
    fn left(&self, survives: &mut Survives<'_>) -> Vec<u8> {
        let mut left = self.durable.clone();
        let Survives::Some(random) = survives else { return left };
        for pending in &self.pending {
            match pending {
                Pending::Truncate { to, .. } if random.random() => left.resize(*to as usize, 0),
                Pending::Truncate { .. } => {}
                Pending::Write { at, octets, .. } => {
                    let mut at = *at;
                    for sector in sectors(at, octets) {
                        if random.random() {
                            write(&mut left, at, sector);
                        }
                        at += sector.len() as u64;
                    }
                }
            }
        }
        left
    }
}

/// The parts of a write that lie in one sector of 512 octets each.
fn sectors(at: u64, octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = (512 - at as usize % 512).min(octets.len());
    let (first, rest) = octets.split_at(first);
    std::iter::once(first).chain(rest.chunks(512)).filter(|sector| !sector.is_empty())
}

fn write(to: &mut Vec<u8>, at: u64, octets: &[u8]) {
    let (at, end) = (at as usize, at as usize + octets.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(octets);
}
