//! What a peer sent that it should not have: kept as it came, beside what we have, for people to compare.

use std::fs;

use prost::Message;
use proto::ids::CountryCode;
use proto::wire;
use tracing::error;

use super::verify::Refused;
use crate::node::Node;

/// Files that are kept for each peer; a peer that goes on sending nonsense fills no disk.
const FILES: usize = 32;

/// Raises the alarm, and keeps the refused batch in the state folder under the reason's name.
pub fn keep(node: &Node, origin: CountryCode, batch: &wire::SignedBatch, refused: &Refused) {
    node.metrics.refused(origin, refused.name());
    error!(%origin, reason = refused.name(), detail = %refused, "batch refused; nothing of it was stored, the offered version is kept as evidence");
    let folder = node.state_folder("evidence").join(origin.to_string());
    let name = format!("{}-{}.batch", refused.name(), hex_prefix(&pki::sign::sha256(&batch.manifest)));
    let path = folder.join(name);
    let is_full = || fs::read_dir(&folder).is_ok_and(|files| files.count() >= FILES);
    if path.exists() || is_full() {
        return;
    }
    let octets = batch.encode_to_vec();
    let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, octets));
    if let Err(cause) = kept {
        error!(%origin, path = %path.display(), %cause, "the evidence could not be kept");
    }
}

fn hex_prefix(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}
