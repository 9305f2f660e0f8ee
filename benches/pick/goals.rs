//! What a pick should cost at most.

use lb_bench::BenchError;

use crate::report::{Report, Row};
use crate::subject::Form;

/// A promise, and the pickers it is about; the worst of them, over all numbers of endpoints it is about, must keep it.
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) most: f64,
    measure: Measure,
    pickers: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Measure {
    /// Nanoseconds on one thread.
    Time,
    /// From the fewest endpoints to the most.
    Growth,
    /// Two threads over one, from 1 000 endpoints on.
    Threads,
    /// A call that half of the endpoints are allowed to, over one that may go anywhere.
    Half,
}

const HASHES: &[&str] = &["ring_hash", "maglev", "rendezvous"];
const SAMPLERS: &[&str] = &["round_robin", "random", "weighted_round_robin", "ring_hash", "maglev", "rendezvous", "prequal"];
const COUNTERS: &[&str] = &["least_request", "peak_ewma"];

pub(crate) const GOALS: &[Goal] = &[
    Goal {
        id: "E1",
        what: "least_request with its accounting, ns",
        most: 25.0,
        measure: Measure::Time,
        pickers: &["least_request"],
    },
    Goal { id: "E1", what: "its growth", most: 1.2, measure: Measure::Growth, pickers: &["least_request"] },
    Goal { id: "E2", what: "round_robin, ns", most: 5.0, measure: Measure::Time, pickers: &["round_robin"] },
    Goal { id: "E2", what: "weighted_round_robin, ns", most: 20.0, measure: Measure::Time, pickers: &["weighted_round_robin"] },
    Goal { id: "E2", what: "hashes: ring_hash, maglev, rendezvous, ns", most: 20.0, measure: Measure::Time, pickers: HASHES },
    Goal { id: "E2", what: "hot-cold: prequal, ns", most: 30.0, measure: Measure::Time, pickers: &["prequal"] },
    Goal {
        id: "E3",
        what: "2 threads over 1: turns, draws, hashes, hot-cold",
        most: 1.5,
        measure: Measure::Threads,
        pickers: SAMPLERS,
    },
    Goal { id: "E3", what: "2 threads over 1: least_request, peak_ewma", most: 1.5, measure: Measure::Threads, pickers: COUNTERS },
    Goal {
        id: "–",
        what: "half of the endpoints over all: turns, draws, hashes",
        most: 3.0,
        measure: Measure::Half,
        pickers: SAMPLERS,
    },
    Goal {
        id: "–",
        what: "half of the endpoints over all: least_request, peak_ewma",
        most: 3.0,
        measure: Measure::Half,
        pickers: COUNTERS,
    },
];

impl Goal {
    /// None where nothing that it is about was measured.
    pub(crate) fn worst(&self, report: &Report<'_>) -> Result<Option<f64>, BenchError> {
        let mut worst: Option<f64> = None;
        for picker in self.pickers {
            for size in report.sizes() {
                if let Some(value) = self.value(report, picker, *size)? {
                    worst = Some(worst.map_or(value, |worst| worst.max(value)));
                }
            }
        }
        Ok(worst)
    }

    fn value(&self, report: &Report<'_>, picker: &str, size: u32) -> Result<Option<f64>, BenchError> {
        let [one, two] = [1, 2].map(|threads| Row::new(picker, Form::Kept, threads));
        let spread = match self.measure {
            Measure::Time => report.time(one, size)?,
            Measure::Growth => match report.sizes().first() {
                Some(first) => report.over(one, size, one, *first)?,
                None => None,
            },
            Measure::Threads if size < 1_000 => None,
            Measure::Threads => report.over(two, size, one, size)?,
            Measure::Half => report.over(Row::new(picker, Form::Half, 1), size, one, size)?,
        };
        Ok(spread.map(|spread| spread.median))
    }
}
