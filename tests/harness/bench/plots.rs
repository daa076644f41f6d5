//! Pictures of what was found, as SVG.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::case::Case;
use super::measure::Measured;
use super::rig::PARTS;
use super::stage::Stage;
use super::summary::Summary;

/// Width and height of a picture.
const SIZE: (u32, u32) = (900, 540);
const COLOURS: [RGBColor; 14] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
    RGBColor(158, 218, 229),
    RGBColor(199, 199, 199),
    RGBColor(60, 60, 60),
    RGBColor(255, 187, 120),
];

/// A line of a picture: its name, and its points from left to right.
type Series = (String, Vec<(f64, f64)>);

/// What a picture is called and what its axes are.
struct Labels {
    title: &'static str,
    x: &'static str,
    y: &'static str,
}

/// Draws what there is into a folder, which is made: rates by size of pushes, latency by load, cores by process.
pub fn write(summary: &Summary, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let Some(headline) = summary.cases.first() else { return Ok(()) };
    let sizes = |case: &&Measured| case.case == Case { push: case.case.push, ..headline.case };
    let mut cases: Vec<_> = summary.cases.iter().filter(sizes).collect();
    cases.sort_by_key(|measured| measured.case.push);
    rates(&cases, &folder.join("rate-by-push.svg"))?;
    latency(headline, &folder.join("latency-by-load.svg"))?;
    cores(headline, &folder.join("cpu-by-process.svg"))
}

fn rates(cases: &[&Measured], path: &Path) -> Result<()> {
    let line = |name: &str, of: fn(&Measured) -> f64| {
        (name.to_owned(), cases.iter().map(|case| (case.case.push as f64, of(case) / 1e3)).collect())
    };
    let series = [
        line("floor", |case| case.floor_tokens_per_second),
        line("push alone", |case| case.push_tokens_per_second),
        line("pull alone", |case| case.pull_tokens_per_second),
        line("end to end", |case| case.end_to_end_tokens_per_second),
    ];
    let labels = Labels { title: "Rates", x: "reports of a push", y: "thousand tokens a second" };
    lines(path, &labels, (5.0..10_000.0).log_scale(), &series)
}

fn latency(case: &Measured, path: &Path) -> Result<()> {
    let line = |name: &str, of: fn(&super::Percentiles) -> f64| {
        let points = case.latency.iter();
        let points = points.map(|load| (f64::from(load.load_percent), of(&load.from_accepted_ms)));
        (name.to_owned(), points.collect())
    };
    let series =
        [line("p50", |times| times.p50), line("p95", |times| times.p95), line("p99", |times| times.p99)];
    let x = "load, percent of the sustained rate";
    let labels = Labels { title: "From accepted to opened", x, y: "milliseconds" };
    lines(path, &labels, 0.0..100.0, &series)
}

/// Lines with a point at each figure, over an axis that begins at 0.
fn lines<X>(path: &Path, labels: &Labels, across: X, series: &[Series]) -> Result<()>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let most =
        series.iter().flat_map(|(_, points)| points).map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(drawn)?;
    let mut chart = ChartBuilder::on(&area);
    chart
        .caption(labels.title, ("sans-serif", 24))
        .margin(15)
        .margin_right(40)
        .x_label_area_size(45)
        .y_label_area_size(75);
    let mut chart = chart.build_cartesian_2d(across, 0.0..most * 1.1).map_err(drawn)?;
    let whole = |number: &f64| format!("{}", (number * 100.0).round() / 100.0);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(labels.x).y_desc(labels.y).x_label_formatter(&whole).y_label_formatter(&whole);
    mesh.draw().map_err(drawn)?;
    for ((name, points), colour) in series.iter().zip(COLOURS) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(4);
        let drawn_line = chart.draw_series(line).map_err(drawn)?;
        drawn_line.label(name).legend(swatch(colour));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(drawn)?;
    area.present().map_err(drawn)
}

/// A bar a process, made of its stages; of one piece if they are not known.
fn cores(case: &Measured, path: &Path) -> Result<()> {
    let parts: Vec<_> = PARTS.into_iter().filter(|part| all(case, part) > 0.0).collect();
    let most = parts.iter().map(|part| all(case, part)).fold(f64::MIN_POSITIVE, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(drawn)?;
    let mut chart = ChartBuilder::on(&area);
    chart.caption("Core seconds for a million tokens", ("sans-serif", 24)).margin(15);
    chart.x_label_area_size(45).y_label_area_size(75);
    // Room on the right for what the colours stand for.
    let across = 0.0..parts.len() as f64 + 1.5;
    let mut chart = chart.build_cartesian_2d(across, 0.0..most * 1.1).map_err(drawn)?;
    chart.configure_mesh().disable_x_mesh().disable_x_axis().y_desc("core seconds").draw().map_err(drawn)?;
    for (place, stage) in Stage::ALL.into_iter().enumerate() {
        let bars: Vec<_> =
            parts.iter().enumerate().filter_map(|(at, part)| bar(case, (at, part), stage)).collect();
        if !bars.is_empty() {
            let colour = COLOURS[place % COLOURS.len()];
            let bars = bars.into_iter().map(|corners| Rectangle::new(corners, colour.filled()));
            let series = chart.draw_series(bars).map_err(drawn)?;
            let name = if case.stages.is_some() { name(stage)? } else { "all".into() };
            series.label(name).legend(swatch(colour));
        }
    }
    let names = parts.iter().enumerate().map(|(at, part)| {
        let text = format!("{}: {:.2}", part.replace('_', " "), all(case, part));
        Text::new(text, (at as f64 + 0.05, all(case, part) + most * 0.04), ("sans-serif", 13))
    });
    chart.draw_series(names).map_err(drawn)?;
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(drawn)?;
    area.present().map_err(drawn)
}

/// What a colour stands for is told beside a piece of it.
fn swatch(colour: RGBColor) -> impl Fn((i32, i32)) -> Rectangle<(i32, i32)> {
    move |(x, y)| Rectangle::new([(x, y - 5), (x + 15, y + 5)], colour.filled())
}

/// The corners of a stage's piece of a process's bar, upon those before it.
fn bar(case: &Measured, (at, part): (usize, &str), stage: Stage) -> Option<[(f64, f64); 2]> {
    let (left, right) = (at as f64 + 0.1, at as f64 + 0.9);
    let Some(stages) = &case.stages else {
        return (stage == Stage::Other).then_some([(left, 0.0), (right, all(case, part))]);
    };
    let stages = stages.get(part)?;
    let below: f64 = stages.range(..stage).map(|(_, seconds)| seconds).sum();
    stages.get(&stage).map(|seconds| [(left, below), (right, below + seconds)])
}

fn all(case: &Measured, part: &str) -> f64 {
    case.cpu_seconds_per_million_tokens.get(part).copied().unwrap_or_default()
}

fn name(stage: Stage) -> Result<String> {
    let name = serde_json::to_value(stage)?;
    Ok(name.as_str().context("a stage has a name")?.replace('_', " "))
}

fn drawn(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a picture cannot be drawn: {error}")
}
