//! What a process asked of its files, as strace saw it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One call, in the order in which the calls ended; a sync also says when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Create(PathBuf),
    Truncate(PathBuf, u64),
    Write(PathBuf, Position, Vec<u8>),
    Sync { path: PathBuf, since: usize },
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    MakeDirectory(PathBuf),
}

/// Where octets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    At(u64),
    End,
}

/// The calls that change files or put them on disk.
pub(super) const CALLS: &str = "trace=openat,creat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,mmap";

/// Reads `strace -f -y -xx -s N`. Panics on what would change a file in a way that is not known here.
pub(super) fn operations(trace: &[u8]) -> Vec<Operation> {
    let mut operations = Vec::new();
    // By thread: the beginning of a call that was interrupted, and how many operations had ended by then.
    let mut open: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for line in trace.split(|octet| *octet == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(call) = call.strip_suffix(" <unfinished ...>") {
            open.insert(thread.to_owned(), (call.to_owned(), operations.len()));
            continue;
        }
        let (call, since) = match call.strip_prefix("<... ") {
            Some(rest) => {
                let (Some((begun, since)), Some((_, rest))) =
                    (open.remove(thread), rest.split_once(" resumed>"))
                else {
                    continue;
                };
                (begun + rest, since)
            }
            None => (call.to_owned(), operations.len()),
        };
        operations.extend(operation(&call, since));
    }
    operations
}

fn operation(call: &str, since: usize) -> Option<Operation> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let arguments = arguments.trim_end().trim_end_matches(')');
    let path = || path(arguments);
    Some(match name {
        "openat" if arguments.contains("O_CREAT") => {
            let path = quoted(arguments).next()?;
            let truncates = arguments.contains("O_TRUNC");
            if truncates { Operation::Truncate(to_path(path), 0) } else { Operation::Create(to_path(path)) }
        }
        "openat" => {
            assert!(!arguments.contains("O_TRUNC"), "{call:.200}");
            return None;
        }
        "write" => Operation::Write(path()?, Position::End, written(arguments, result)),
        "pwrite64" | "pwritev" | "pwritev2" => {
            let words: Vec<&str> = arguments.rsplit(", ").collect();
            let offset = words[usize::from(name == "pwritev2")].parse().ok()?;
            Operation::Write(path()?, Position::At(offset), written(arguments, result))
        }
        "fsync" | "fdatasync" => Operation::Sync { path: path()?, since },
        "ftruncate" => Operation::Truncate(path()?, arguments.rsplit(", ").next()?.parse().ok()?),
        "rename" | "renameat" | "renameat2" => {
            let mut paths = quoted(arguments).map(to_path);
            Operation::Rename(paths.next()?, paths.next()?)
        }
        "unlink" | "unlinkat" | "rmdir" => Operation::Unlink(to_path(quoted(arguments).next()?)),
        "mkdir" | "mkdirat" => Operation::MakeDirectory(to_path(quoted(arguments).next()?)),
        "mmap" => {
            let writes_file = arguments.contains("MAP_SHARED") && arguments.contains("PROT_WRITE");
            assert!(!writes_file || arguments.contains("MAP_ANONYMOUS"), "{call:.200}");
            return None;
        }
        "fallocate" | "link" | "linkat" | "writev" | "creat" => panic!("not known here: {call:.200}"),
        _ => return None,
    })
}

/// The path of the file descriptor that is the first argument.
fn path(arguments: &str) -> Option<PathBuf> {
    let (_, rest) = arguments.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    Some(to_path(unescaped(path)))
}

fn to_path(octets: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&octets).into_owned().into()
}

/// All that was written, from one string or from those of a vector.
fn written(arguments: &str, result: &str) -> Vec<u8> {
    let mut octets: Vec<u8> = quoted(arguments).flatten().collect();
    let count: usize = result.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap();
    assert!(octets.len() >= count, "strace cut a string off: {} of {count}", octets.len());
    octets.truncate(count);
    octets
}

fn quoted(arguments: &str) -> impl Iterator<Item = Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unescaped)
}

/// Octets in the form `\x2f`; anything else stands for itself.
fn unescaped(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let mut octets = Vec::with_capacity(text.len() / 4);
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\\' && text.get(at + 1) == Some(&b'x') {
            octets.push(16 * digit(text[at + 2]) + digit(text[at + 3]));
            at += 4;
        } else {
            octets.push(text[at]);
            at += 1;
        }
    }
    octets
}

fn digit(octet: u8) -> u8 {
    (octet as char).to_digit(16).map(|digit| digit as u8).expect("strace writes hexadecimal digits")
}
