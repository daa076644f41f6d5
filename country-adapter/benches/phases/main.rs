//! How fast an authority and a phone do their part of the four phases: `cargo bench -p country-adapter`.
//!
//! Ratios and limits stand beside the figures; the command fails if one is not met. `--json` prints an object.

mod exposure_list;
mod matching;
mod service_tokens;
mod timing;

use std::process::ExitCode;

/// One measured figure and what it must be.
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: &'static str,
    /// How much, in the unit.
    pub(crate) value: f64,
    /// Seconds, octets, a ratio, or so many a second.
    pub(crate) unit: &'static str,
    /// What it is held to, if anything.
    pub(crate) limit: Option<Limit>,
}

/// What a figure is held to.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Figure {
    fn holds(&self) -> bool {
        match self.limit {
            None => true,
            Some(Limit::AtMost(most)) => self.value <= most,
            Some(Limit::AtLeast(least)) => self.value >= least,
        }
    }

    fn line(&self) -> String {
        let limit = match self.limit {
            None => String::new(),
            Some(Limit::AtMost(most)) => format!("at most {most}"),
            Some(Limit::AtLeast(least)) => format!("at least {least}"),
        };
        let verdict = if self.holds() { "" } else { "  NOT MET" };
        format!("{:<60} {:>14.3} {:<10} {limit}{verdict}", self.name, self.value, self.unit)
    }
}

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(exposure_list::CHILD) {
        exposure_list::child(folder.as_ref());
        return ExitCode::SUCCESS;
    }
    let figures: Vec<Figure> =
        [service_tokens::run, matching::run, exposure_list::run].into_iter().flat_map(|run| run()).collect();
    if std::env::args().any(|argument| argument == "--json") {
        let object: serde_json::Map<_, _> = figures
            .iter()
            .map(|figure| {
                let entry =
                    serde_json::json!({ "value": figure.value, "unit": figure.unit, "holds": figure.holds() });
                (figure.name.to_owned(), entry)
            })
            .collect();
        println!("{}", serde_json::Value::Object(object));
    } else {
        figures.iter().for_each(|figure| println!("{}", figure.line()));
    }
    if figures.iter().all(Figure::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
