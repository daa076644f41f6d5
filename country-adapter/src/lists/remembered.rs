//! By which weights and threshold the adapter last ran, in `lists/parameters.json`: what waited to be posted then was
//! computed with them.

use std::path::Path;

use pki::disk::DiskError;
use serde::{Deserialize, Serialize};

use super::{Damaged, Parameters};
use crate::durable::{self, Disk, PRIVATE};
use crate::risk::Threshold;

const FILE: &str = "parameters.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    mechanism: u16,
    least: u16,
    days: u16,
}

/// The parameters of the last start, or these if there was none.
pub(super) fn read(lists: &Path, now: Parameters) -> Result<Parameters, Damaged> {
    let octets = durable::read_if_there(&lists.join(FILE))?;
    // What cannot be read says nothing of the last start.
    let known = octets.and_then(|octets| serde_json::from_slice::<Remembered>(&octets).ok());
    Ok(known.map_or(now, |Remembered { mechanism, least, days }| Parameters {
        mechanism,
        threshold: Threshold { least, days },
        ..now
    }))
}

/// Notes the parameters of this start.
pub(super) fn write(disk: &Disk, lists: &Path, now: Parameters) -> Result<(), DiskError> {
    let Parameters { mechanism, threshold: Threshold { least, days }, .. } = now;
    let json = serde_json::to_vec(&Remembered { mechanism, least, days }).expect("numbers always serialise");
    let path = lists.join(FILE);
    if durable::read_if_there(&path)?.as_deref() == Some(&*json) {
        return Ok(());
    }
    disk.replace(&path, PRIVATE, &json)
}
