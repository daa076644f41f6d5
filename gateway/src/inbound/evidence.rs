//! What a peer sent that it should not have: kept as it came, beside what we have, for people to compare.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pki::disk;
use prost::Message;
use proto::ids::CountryCode;
use proto::wire;
use tracing::error;

use super::verify::Refused;
use crate::node::Node;

/// Files that are kept for each peer; a peer that goes on sending nonsense fills no disk.
const FILES: usize = 32;

/// Raises the alarm, and keeps the refused batch in the state folder under the reason's name, unless that would leave
/// less free space than the configuration asks for.
pub async fn keep(node: &Node, origin: CountryCode, batch: &wire::SignedBatch, refused: &Refused) {
    node.metrics.refused(origin, refused.name());
    error!(%origin, reason = refused.name(), detail = %refused, "batch refused; nothing of it was stored, the offered version is kept as evidence");
    let folder = node.state_folder("evidence").join(origin.to_string());
    let name = format!("{}-{}.batch", refused.name(), hex_prefix(&pki::sign::sha256(&batch.manifest)));
    let (batch, floor) = (batch.clone(), node.config.limits.free_disk_bytes);
    let path = folder.join(&name);
    // Up to 8 MiB and a slow disk: not on a thread that answers others.
    let written = tokio::task::spawn_blocking(move || write(&folder, &name, &batch, floor)).await;
    let failed = written.unwrap_or_else(|_| Err(io::Error::other("the thread that writes it ended"))).err();
    if let Some(cause) = failed {
        error!(%origin, path = %path.display(), %cause, "the evidence could not be kept");
    }
}

fn write(folder: &Path, name: &str, batch: &wire::SignedBatch, floor: u64) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path: PathBuf = folder.join(name);
    if path.exists() || fs::read_dir(folder)?.count() >= FILES {
        return Ok(());
    }
    let free = disk::free(folder)?;
    if free < floor.saturating_add(batch.encoded_len() as u64) {
        let message = format!("{free} octets are free, and limits.free_disk_bytes is {floor}");
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    fs::write(path, batch.encode_to_vec())
}

fn hex_prefix(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Fixture};

    /// Keeps so many refused batches, and gives how many files there are then.
    async fn kept(fixture: &Fixture, batches: u16) -> usize {
        let (node, origin) = (&fixture.node, CountryCode::new(250).unwrap());
        for number in 0..batches {
            let manifest = number.to_be_bytes().to_vec().into();
            let batch = wire::SignedBatch { manifest, ..wire::SignedBatch::default() };
            keep(node, origin, &batch, &Refused::BrokenChain(1)).await;
        }
        let folder = node.state_folder("evidence").join("250");
        fs::read_dir(folder).map_or(0, |files| files.count())
    }

    #[tokio::test]
    async fn so_many_files_are_kept_of_a_peer_and_not_one_more() {
        let fixture = fixture::node();
        assert_eq!(kept(&fixture, 31).await, 31);
        assert_eq!(kept(&fixture, 32).await, FILES, "each of them once");
        assert_eq!(kept(&fixture, 33).await, FILES);
    }

    #[tokio::test]
    async fn nothing_is_kept_below_the_floor_of_the_disk_and_the_alarm_is_raised() {
        let fixture = fixture::node_with(|config| {
            config.replace("free_disk_bytes = 1048576", "free_disk_bytes = 9000000000000000")
        });
        assert_eq!(kept(&fixture, 1).await, 0);
        let counted = "exchange_batches_refused_total{peer=\"250\",reason=\"broken_chain\"} 1";
        let text = fixture.node.metrics.text();
        assert!(text.contains(counted), "{text}");
    }
}
