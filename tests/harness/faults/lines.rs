//! Trouble in the lines to gateways: from peers to two countries, and from adapters to two.

use anyhow::Result;

use super::scene::{Scene, Struck};
use crate::members::country;
use crate::proxy::Trouble;

/// Makes the same trouble in all of them, and ends it.
pub(super) async fn strike(scene: &mut Scene, trouble: Trouble) -> Result<Struck> {
    make(scene, trouble)?;
    let time = scene.pace.trouble;
    let held = scene.hold(time).await;
    let [peers, adapters] = make(scene, Trouble::None)?;
    held?;
    let did = format!(
        "{:.0} s of it; it struck {peers} times between gateways and {adapters} times between adapters and gateways",
        time.as_secs_f64()
    );
    Ok(Struck::yes(if peers > 0 && adapters > 0 { peers + adapters } else { 0 }, did))
}

/// How often the trouble before struck: between gateways, between adapters and gateways.
fn make(scene: &Scene, trouble: Trouble) -> Result<[usize; 2]> {
    let mut struck = [0; 2];
    for code in [250, 826] {
        for (line, struck) in scene.federation.proxies(country(code))?.iter().zip(&mut struck) {
            *struck += line.make(trouble);
        }
    }
    Ok(struck)
}
