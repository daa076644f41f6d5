//! Every parser that octets from outside reach, over the kept corpus and mutations of it. `fuzz/` does the same for
//! hours.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use targets::mutate::Mutator;
use targets::{TARGETS, Target};

/// Mutations of each corpus, unless the time is over before.
const MUTATIONS: usize = 20_000;
/// The time for one parser.
const LONGEST: Duration = Duration::from_secs(4);

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is there", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn no_parser_panics_whatever_it_gets() {
    for target in TARGETS {
        let corpus = corpus(&target);
        assert!(!corpus.is_empty(), "{} has a corpus", target.name);
        let run = |octets: &[u8]| {
            let ran = std::panic::catch_unwind(|| (target.run)(octets));
            assert!(ran.is_ok(), "{} panics; put this into its corpus: {}", target.name, hex::encode(octets));
        };
        (run)(&[]);
        corpus.iter().for_each(|octets| run(octets));
        let (mut mutator, start) = (Mutator::new(&corpus, 0x5eed), Instant::now());
        for _ in 0..MUTATIONS {
            run(&mutator.another());
            if start.elapsed() > LONGEST {
                break;
            }
        }
    }
}

#[test]
fn every_parser_has_a_fuzzing_program_of_its_name() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
        let text = std::fs::read_to_string(program.join(format!("{}.rs", target.name))).unwrap();
        assert!(text.contains(&format!("\"{}\"", target.name)));
    }
}
