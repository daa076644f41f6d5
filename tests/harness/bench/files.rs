//! The real adapters, with folders of files on both sides: what a backend sees of the exchange.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::case::Case;
use super::rig::SETTINGS;
use crate::backend;
use crate::federation::Federation;
use crate::place::AdapterPlace;
use crate::reports::{Contact, today};

/// Lines of a file, which are a push.
const LINES: usize = 5_000;
/// How long all of them may take.
const ARRIVED: Duration = Duration::from_secs(300);
/// Octets of a token that fills a report of 200.
const TOKEN: usize = 171;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct WithFiles {
    /// Every line was delivered, and nothing else.
    pub ok: bool,
    /// Lines.
    pub tokens: usize,
    /// From the moment at which the files lie there until the last report lies in the destination's folder.
    pub tokens_per_second: f64,
    /// Lines of delivered files.
    pub delivered: usize,
}

/// Lets so many tokens go from folder to folder, rounded up to whole files.
pub(super) async fn measure(tokens: usize) -> Result<WithFiles> {
    let mut builder = Federation::builder().log_level("warn").gateway_settings(SETTINGS);
    for plan in Case::HEADLINE.plans() {
        builder = builder.country(plan);
    }
    let federation = builder.start().await?;
    let (origin, files) = (federation.adapter(Case::origin())?, tokens.max(1).div_ceil(LINES));
    let to = Case::HEADLINE.destinations();
    let destination = federation.adapter(*to.first().context("the headline has a destination")?)?;
    let lines: Vec<Vec<String>> = (0..files).map(|file| lines(destination, file)).collect();
    let began = Instant::now();
    for lines in &lines {
        backend::submit(origin, lines)?;
    }
    let sent = files * LINES;
    let arrived = async || delivered(destination).ok().filter(|delivered| *delivered >= sent);
    let delivered = federation.wait_until("every line of every file arrives", ARRIVED, arrived).await?;
    let tokens_per_second = sent as f64 / began.elapsed().as_secs_f64();
    ensure!(delivered >= sent, "fewer lines were delivered than sent");
    Ok(WithFiles { ok: delivered == sent, tokens: sent, tokens_per_second, delivered })
}

fn lines(to: &AdapterPlace, file: usize) -> Vec<String> {
    let (day, mut contact) = (today().minus(1), Contact::simple(to.authority, &[7; TOKEN], today().minus(1)));
    (contact.header[0], contact.day) = (0x08, day);
    let lines = (file * LINES..(file + 1) * LINES).map(|number| {
        contact.token[..8].copy_from_slice(&(number as u64).to_be_bytes());
        contact.line()
    });
    lines.collect()
}

/// Lines of all delivered files.
fn delivered(adapter: &AdapterPlace) -> Result<usize> {
    let paths = backend::delivered_paths(adapter)?;
    let lines = paths.iter().map(|path| {
        let octets = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(octets.iter().filter(|octet| **octet == b'\n').count())
    });
    lines.sum()
}
