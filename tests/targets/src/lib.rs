//! Every parser that octets from outside reach, as functions of octets. None may panic, whatever it gets; and what
//! has one form only must come back as the octets that it was read from.
//!
//! `fuzz/` runs them under a fuzzer for hours, the end-to-end tests over the kept corpus and mutations of it.

mod answers;
mod country;
mod exchange;
mod files;
mod frames;
mod keys;
pub mod mutate;

/// One parser.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also the name of its corpus folder and of its fuzzing program.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 22] = [
    Target { name: "frame", run: frames::frame },
    Target { name: "extended", run: frames::extended },
    Target { name: "secured", run: frames::secured },
    Target { name: "report", run: exchange::report },
    Target { name: "report_json", run: exchange::report_json },
    Target { name: "push", run: exchange::push },
    Target { name: "body", run: exchange::body },
    Target { name: "manifest", run: exchange::manifest },
    Target { name: "receipt", run: exchange::receipt },
    Target { name: "batch", run: exchange::batch },
    Target { name: "status", run: exchange::status },
    Target { name: "key_list", run: keys::key_list },
    Target { name: "trust_list", run: keys::trust_list },
    Target { name: "certificate", run: keys::certificate },
    Target { name: "pem", run: keys::pem },
    Target { name: "config", run: country::config },
    Target { name: "upload", run: country::upload },
    Target { name: "lists", run: country::lists },
    Target { name: "efgs", run: files::efgs },
    Target { name: "gaen_export", run: files::gaen_export },
    Target { name: "archive", run: files::archive },
    Target { name: "webhook", run: answers::webhook },
];

/// The parser of this name.
#[must_use]
pub fn named(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
