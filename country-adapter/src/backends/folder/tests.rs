use super::*;
use crate::durable::names;

fn opened(dir: &Path) -> FolderBackend {
    let folders = Folders { outgoing: dir.join("outgoing"), delivered: dir.join("delivered") };
    FolderBackend::open(&folders, &dir.join("state"), Disk::default()).unwrap()
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
fn what_was_written_aside_belongs_to_a_position() {
    let dir = tempfile::tempdir().unwrap();
    drop(opened(dir.path()));
    std::fs::write(dir.path().join("state/received.json"), r#"{"position":2,"origins":{"250":7}}"#).unwrap();
    for position in [1, 2, 3] {
        let name = format!("{position:010}-250-{position}.ndjson.tmp");
        std::fs::write(dir.path().join("delivered/.incoming").join(name), "{}\n").unwrap();
    }
    std::fs::write(dir.path().join("delivered/.incoming/strange"), "").unwrap();
    let cursor = opened(dir.path()).cursor().unwrap();
    assert_eq!((cursor.position, cursor.origins.len()), (2, 1));
    let delivered = names(&dir.path().join("delivered")).unwrap();
    assert_eq!(delivered, [".incoming", "0000000001-250-1.ndjson", "0000000002-250-2.ndjson"]);
    assert!(names(&dir.path().join("delivered/.incoming")).unwrap().is_empty());
}
