use super::*;
use crate::durable::names;

fn opened(dir: &Path) -> FolderBackend {
    FolderBackend::open(&dir.join("outgoing"), Disk::default(), SourceProfile::Specification).unwrap()
}

#[test]
fn a_file_of_the_same_name_is_another_piece_of_work() {
    let dir = tempfile::tempdir().unwrap();
    let backend = opened(dir.path());
    let mut works = Vec::new();
    for _ in 0..2 {
        std::fs::write(dir.path().join("outgoing/a.ndjson"), "").unwrap();
        works.push(backend.outgoing().unwrap().unwrap());
    }
    assert_ne!(works[0], works[1]);
    assert!(works.iter().all(|work| work.as_str().starts_with("a.") && work.as_str().len() == 10));
    works.sort();
    assert_eq!(backend.claimed().unwrap(), works);
    assert_eq!(backend.outgoing().unwrap(), None);
}

#[test]
fn names_of_any_length_and_script_are_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let backend = opened(dir.path());
    let long = "ü".repeat(120);
    for name in [&long, "a b", "..."] {
        std::fs::write(dir.path().join("outgoing").join(format!("{name}.ndjson")), "").unwrap();
    }
    std::fs::rename(dir.path().join("outgoing/....ndjson"), dir.path().join("outgoing/..ndjson")).unwrap();
    assert!(backend.outgoing().unwrap().is_some() && backend.outgoing().unwrap().is_some());
    assert_eq!(backend.outgoing().unwrap(), None, "a dot file is left alone");
    assert_eq!(backend.waiting().unwrap(), 0);
}

#[test]
fn a_finished_piece_may_be_finished_again() {
    let dir = tempfile::tempdir().unwrap();
    let backend = opened(dir.path());
    std::fs::write(dir.path().join("outgoing/a.ndjson"), "x\n").unwrap();
    let work = backend.outgoing().unwrap().unwrap();
    for _ in 0..2 {
        backend.finish(&work, Outcome::Answered).unwrap();
    }
    assert_eq!(names(&dir.path().join("outgoing/published")).unwrap(), [format!("{work}.ndjson")]);
}

#[test]
fn only_regular_files_go_out_and_each_other_one_is_told_once_by_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let outgoing = dir.path().join("outgoing");
    let outbound = Outbound::open(&outgoing, Disk::default(), SourceProfile::Specification).unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "x\n").unwrap();
    std::os::unix::fs::symlink(&secret, outgoing.join("link.ndjson")).unwrap();
    std::fs::create_dir(outgoing.join("folder.ndjson")).unwrap();
    let pipe = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, outgoing.join("pipe.ndjson"), pipe).unwrap();
    std::fs::write(outgoing.join(OsStr::from_bytes(b"\xff.ndjson")), "").unwrap();
    std::fs::write(outgoing.join("other.txt"), "").unwrap();
    std::fs::write(outgoing.join("good.ndjson"), "").unwrap();
    assert_eq!(outbound.waiting().unwrap(), ["good.ndjson"]);
    let told = outbound.ignored();
    let reasons: Vec<_> = told.iter().map(|(name, why)| (name.as_bytes(), *why)).collect();
    let expected: [(&[u8], _); 4] = [
        (b"folder.ndjson", "is a directory; put its files here"),
        (b"link.ndjson", "is a link; copy the file itself here"),
        (b"pipe.ndjson", "is no regular file; write one here"),
        (b"\xff.ndjson", "the name is no UTF-8 text; rename it"),
    ];
    assert_eq!(reasons, expected);
    assert!(outbound.untold(&told).is_empty(), "once");
    assert!(outbound.claim().unwrap().is_some() && outbound.claim().unwrap().is_none());
}

#[test]
fn a_claimed_file_that_became_a_link_is_not_read_and_can_be_put_away() {
    let dir = tempfile::tempdir().unwrap();
    let backend = opened(dir.path());
    std::os::unix::fs::symlink("/nowhere", dir.path().join("outgoing/.working/a.ndjson")).unwrap();
    let [work] = <[_; 1]>::try_from(backend.claimed().unwrap()).unwrap();
    let refused = backend.read(&work, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(refused, BackendError::Unreadable { .. }), "{refused}");
    backend.finish(&work, Outcome::SetAside).unwrap();
    assert_eq!(names(&dir.path().join("outgoing/failed")).unwrap(), ["a.ndjson"]);
    assert!(backend.claimed().unwrap().is_empty());
}

#[test]
fn the_folders_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(opened(dir.path()));
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
    for shared in ["outgoing/.working", "outgoing/answers"] {
        assert_eq!(mode(shared) & 0o027, 0, "{shared}");
    }
    assert_eq!((mode("outgoing/published") & 0o027, mode("outgoing/failed") & 0o027), (0, 0));
}
