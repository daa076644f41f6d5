//! What a flood came to, in figures.

use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use super::attack::Counts;
use super::{Ailment, Kind, Measured, TIMES, add};
use crate::admin::metric;
use crate::demo::Percentiles;

/// How much throughput and p99 of the others may differ.
const ALLOWED: f64 = 0.10;
/// A flood asks for so much of what it is meant to ask for, or it is none.
const LEAST: f64 = 0.9;

/// What a good caller did in some phases.
#[derive(Debug, Default, Clone)]
pub struct Side {
    /// Reports that were accepted.
    pub reports: usize,
    /// The time of the phases.
    pub seconds: f64,
    /// Of each push.
    pub times: Vec<Duration>,
}

impl Side {
    pub(super) fn took(&mut self, reports: usize, time: Duration) {
        self.reports += reports;
        self.times.push(time);
    }

    pub(super) fn add(&mut self, phase: Self) {
        self.reports += phase.reports;
        self.seconds += phase.seconds;
        self.times.extend(phase.times);
    }
}

/// All floods and ailments.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Throughput and p99 of every good caller stayed within 10 %, and every flood and every ailment was one.
    pub ok: bool,
    /// Each kind of flood, beside the same caller with no more than its quota.
    pub floods: Vec<FloodSummary>,
    /// Each kind of sick peer, and all of them at once, beside peers that are well.
    pub sick: Vec<SickSummary>,
    /// Quiet phases beside other quiet phases: what the machine does by itself. Where these differ by more than 10 %, so
    /// may the others for no reason of the gateway's.
    pub quiet: Vec<Compared>,
    /// Calls that the gateway counted as over a quota.
    pub counted_over_quota: f64,
    /// The most memory that the gateway has held, octets.
    pub gateway_peak_bytes: u64,
}

/// One kind of flood.
#[derive(Debug, Serialize)]
pub struct FloodSummary {
    /// `backend` or `peer`.
    pub flooder: &'static str,
    /// How many times its quota.
    pub times_quota: u32,
    /// Calls that its quota allowed while it flooded.
    pub quota: u64,
    /// Calls asked for.
    pub asked: u64,
    /// Calls let through.
    pub accepted: u64,
    /// Calls answered RESOURCE_EXHAUSTED.
    pub refused: u64,
    /// It asked for nine times its quota at least, had its share, and was refused more.
    pub is_flood: bool,
    /// The good callers: while it asks for its quota, and while it asks for ten times as much.
    pub others: Vec<Compared>,
}

/// Some peers that are ill.
#[derive(Debug, Serialize)]
pub struct SickSummary {
    /// What ails them; `all_at_once` for all.
    pub ailment: String,
    /// Connections and calls that they left waiting, or gave nothing that is of use.
    pub suffered: u64,
    /// Some suffered in each of its phases on average.
    pub is_sick: bool,
    /// The good callers: in all quiet phases, and while these are ill.
    pub others: Vec<Compared>,
}

/// A good caller without and with what is measured.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// From which authority to which.
    pub caller: String,
    /// Pushes measured without it and with it, the fewer of both.
    pub samples: usize,
    /// Reports a second without it.
    pub without_reports_per_second: f64,
    /// Reports a second with it.
    pub with_reports_per_second: f64,
    /// Half of the pushes were as fast without it, milliseconds.
    pub without_p50_ms: f64,
    /// Half of the pushes were as fast with it.
    pub with_p50_ms: f64,
    /// 99 of 100 were, without it.
    pub without_p99_ms: f64,
    /// 99 of 100 were, with it.
    pub with_p99_ms: f64,
    /// Throughput with it is at least 90 %, and p99 at most 110 %, of what they were without.
    pub ok: bool,
}

impl Summary {
    pub(super) fn new(
        measured: Measured,
        names: [String; 2],
        (metrics, gateway_peak_bytes): (&str, u64),
    ) -> Self {
        let Measured { rounds, quiet: [one, two], sick, floods } = measured;
        let mut well = one.clone();
        add(&mut well, two.clone());
        let kinds = [Kind::Backend, Kind::Peer].into_iter().zip(floods);
        let floods: Vec<_> = kinds.map(|(kind, paces)| FloodSummary::new(kind, &names, paces)).collect();
        let ailments = Ailment::ALL.map(Ailment::name).into_iter().chain(["all_at_once"]);
        let sick: Vec<_> = ailments
            .zip(sick)
            .map(|(ailment, (ill, suffered))| SickSummary {
                ailment: ailment.to_owned(),
                suffered,
                is_sick: suffered >= rounds as u64,
                others: compare(&names, &well, ill),
            })
            .collect();
        Self {
            ok: floods.iter().all(|flood| flood.is_flood && flood.others.iter().all(|other| other.ok))
                && sick.iter().all(|sick| sick.is_sick && sick.others.iter().all(|other| other.ok)),
            floods,
            sick,
            quiet: compare(&names, &one, two),
            counted_over_quota: metric(metrics, "exchange_over_quota_total", &[]),
            gateway_peak_bytes,
        }
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
        let head = ["what", "how much", "other", "reports/s", "with it", "p99 ms", "with it", ""];
        table.set_header(head);
        let mut rows = |what: &str, how_much: &str, others: &[Compared]| {
            for other in others {
                table.add_row([
                    what.to_owned(),
                    how_much.to_owned(),
                    other.caller.clone(),
                    format!("{:.0}", other.without_reports_per_second),
                    format!("{:.0}", other.with_reports_per_second),
                    format!("{:.1}", other.without_p99_ms),
                    format!("{:.1}", other.with_p99_ms),
                    if other.ok { "within 10 %" } else { "more than 10 %" }.to_owned(),
                ]);
            }
        };
        rows("nothing: quiet and quiet", "", &self.quiet);
        for flood in &self.floods {
            let how_much = format!("{} asked, {} accepted", flood.asked, flood.accepted);
            let none = if flood.is_flood { "" } else { "; that is no flood" };
            rows(&format!("{} floods", flood.flooder), &(how_much + none), &flood.others);
        }
        for sick in &self.sick {
            let none = if sick.is_sick { "" } else { "; that is not ill" };
            let how_much = format!("{} times{none}", sick.suffered);
            rows(&format!("peer: {}", sick.ailment.replace('_', " ")), &how_much, &sick.others);
        }
        table
    }
}

impl FloodSummary {
    fn new(kind: Kind, names: &[String; 2], paces: [([Side; 2], Counts); 2]) -> Self {
        let flooder = match kind {
            Kind::Backend => "backend",
            Kind::Peer => "peer",
        };
        let [(within, _), (beyond, counts)] = paces;
        let Counts { asked, accepted, refused, seconds } = counts;
        let quota = f64::from(kind.calls()) * seconds;
        let is_flood = asked as f64 >= LEAST * f64::from(TIMES) * quota && accepted > 0 && refused > accepted;
        Self {
            flooder,
            times_quota: TIMES,
            quota: quota as u64,
            asked,
            accepted,
            refused,
            is_flood,
            others: compare(names, &within, beyond),
        }
    }
}

/// Each good caller without it and with it.
fn compare(names: &[String; 2], without: &[Side; 2], with: [Side; 2]) -> Vec<Compared> {
    let sides = names.iter().zip(without).zip(with);
    sides.map(|((name, without), with)| Compared::new(name.clone(), without.clone(), with)).collect()
}

impl Compared {
    fn new(caller: String, without: Side, with: Side) -> Self {
        let rate = |side: &Side| side.reports as f64 / side.seconds.max(0.001);
        let (without_rate, with_rate) = (rate(&without), rate(&with));
        let (without, with) = (Percentiles::of(without.times), Percentiles::of(with.times));
        Self {
            caller,
            samples: without.samples.min(with.samples),
            without_reports_per_second: without_rate,
            with_reports_per_second: with_rate,
            without_p50_ms: without.p50,
            with_p50_ms: with.p50,
            without_p99_ms: without.p99,
            with_p99_ms: with.p99,
            ok: with_rate >= without_rate * (1.0 - ALLOWED) && with.p99 <= without.p99 * (1.0 + ALLOWED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(reports: usize, milliseconds: u64) -> Side {
        Side { reports, seconds: 1.0, times: vec![Duration::from_millis(milliseconds); 100] }
    }

    /// Everything as it should be, for one round.
    fn good() -> Measured {
        let sides = || [side(1_000, 10), side(1_000, 10)];
        let counts = |kind: Kind| {
            let quota = u64::from(kind.calls());
            let asked = quota * u64::from(TIMES);
            Counts { asked, accepted: quota, refused: asked - quota, seconds: 1.0 }
        };
        let flood = |kind| [(sides(), Counts::default()), (sides(), counts(kind))];
        Measured {
            rounds: 1,
            quiet: [sides(), sides()],
            sick: std::array::from_fn(|_| (sides(), 1)),
            floods: [flood(Kind::Backend), flood(Kind::Peer)],
        }
    }

    fn is_ok(measured: Measured) -> bool {
        Summary::new(measured, ["a".into(), "b".into()], ("", 0)).ok
    }

    #[test]
    fn more_than_a_tenth_of_difference_is_not_ok() {
        let compared = |with| Compared::new("a".into(), side(1_000, 100), with).ok;
        assert!(compared(side(900, 110)) && compared(side(2_000, 1)));
        assert!(!compared(side(899, 100)) && !compared(side(1_000, 111)));
    }

    #[test]
    fn each_caller_beside_each_flood_and_ailment_counts() {
        assert!(is_ok(good()));
        for caller in 0..2 {
            for ailment in 0..good().sick.len() {
                let mut slow = good();
                slow.sick[ailment].0[caller] = side(1_000, 12);
                assert!(!is_ok(slow), "{ailment}");
            }
            for flood in 0..2 {
                let mut slow = good();
                slow.floods[flood][1].0[caller] = side(1_000, 12);
                assert!(!is_ok(slow), "{flood}");
            }
        }
    }

    #[test]
    fn a_flood_that_was_none_and_an_ailment_that_nobody_met_are_not_ok() {
        for flood in 0..2 {
            let with = |change: fn(&mut Counts)| {
                let mut measured = good();
                change(&mut measured.floods[flood][1].1);
                is_ok(measured)
            };
            assert!(with(|counts| counts.asked = counts.asked / 10 * 9));
            assert!(!with(|counts| counts.asked = counts.asked / 10 * 9 - 1), "less than nine times");
            assert!(!with(|counts| counts.refused = 0) && !with(|counts| counts.accepted = 0));
        }
        for ailment in 0..good().sick.len() {
            let mut measured = good();
            measured.sick[ailment].1 = 0;
            assert!(!is_ok(measured), "{ailment}");
        }
    }
}
