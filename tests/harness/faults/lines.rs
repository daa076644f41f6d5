//! Trouble in the lines to gateways: from all peers to one country, and from all adapters to another.

use anyhow::Result;

use super::scene::{Scene, Struck};
use crate::members::country;
use crate::proxy::Trouble;

/// Makes the same trouble in both kinds of lines, and ends it.
pub(super) async fn strike(scene: &mut Scene, trouble: Trouble) -> Result<Struck> {
    make(scene, trouble)?;
    let time = scene.pace.trouble;
    let held = scene.hold(time).await;
    let [peers, adapters] = make(scene, Trouble::None)?;
    held?;
    let did = format!(
        "{:.1} s of it; it struck {peers} times between gateways and {adapters} times between adapters and gateways",
        time.as_secs_f64()
    );
    Ok(Struck::yes(if peers > 0 && adapters > 0 { peers + adapters } else { 0 }, did))
}

/// How often the trouble before struck: between gateways, between adapters and their gateway.
fn make(scene: &Scene, trouble: Trouble) -> Result<[usize; 2]> {
    // Not both of one country: its adapters must go on pushing, or nothing would pass to its peers.
    let [between, _] = scene.federation.proxies(country(250))?;
    let [_, inside] = scene.federation.proxies(country(826))?;
    Ok([between.make(trouble), inside.make(trouble)])
}
