//! Trouble in the lines to gateways, from all peers to one country and from all adapters to another; and in the lines
//! from all gateways to their database.

use anyhow::Result;

use super::scene::{Scene, Struck};
use crate::members::country;
use crate::proxy::{Proxy, Trouble};

/// Kinds of lines that a trouble must strike.
pub(super) const LINES: usize = 2;
/// Countries whose lines to the database a trouble must strike: those of the federation.
pub(super) const DATABASES: usize = 3;

/// Makes the same trouble in both kinds of lines, and ends it.
pub(super) async fn strike(scene: &mut Scene, trouble: Trouble) -> Result<Struck> {
    make(scene, trouble)?;
    let time = scene.pace.trouble;
    let held = scene.hold_until(time, |scene| strikes(scene).is_ok_and(|struck| !struck.contains(&0))).await;
    let struck = make(scene, Trouble::None)?;
    held?;
    let [peers, adapters] = struck;
    let did = format!(
        "{:.1} s of it; it struck {peers} times between gateways and {adapters} times between adapters and gateways",
        time.as_secs_f64()
    );
    Ok(Struck::yes(struck.into_iter().filter(|times| *times > 0).count(), did))
}

/// Makes trouble between all gateways and their database, and ends it.
pub(super) async fn to_the_database(scene: &mut Scene, trouble: Trouble) -> Result<Struck> {
    let make =
        |scene: &Scene, trouble| scene.federation.database_lines().map(|line| line.make(trouble)).collect();
    let _: Vec<usize> = make(scene, trouble);
    let time = scene.pace.trouble;
    let shows = |scene: &Scene| scene.federation.database_lines().all(|line| line.struck() > 0);
    let held = scene.hold_until(time, shows).await;
    let struck: Vec<usize> = make(scene, Trouble::None);
    held?;
    let (countries, times) = (struck.len(), struck.iter().sum::<usize>());
    let did = format!(
        "{:.1} s of it between the gateways of {countries} countries and their database; it struck {times} times",
        time.as_secs_f64()
    );
    Ok(Struck::yes(struck.into_iter().filter(|times| *times > 0).count(), did))
}

/// How often the trouble before struck: between gateways, between adapters and their gateway.
fn make(scene: &Scene, trouble: Trouble) -> Result<[usize; LINES]> {
    Ok(both(scene)?.map(|line| line.make(trouble)))
}

/// How often it has struck so far.
fn strikes(scene: &Scene) -> Result<[usize; LINES]> {
    Ok(both(scene)?.map(Proxy::struck))
}

fn both(scene: &Scene) -> Result<[&Proxy; LINES]> {
    // Not of one country: its adapters must go on pushing, or nothing would pass to its peers.
    let [between, _] = scene.federation.proxies(country(250))?;
    let [_, inside] = scene.federation.proxies(country(826))?;
    Ok([between, inside])
}
