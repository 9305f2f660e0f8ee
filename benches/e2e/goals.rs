//! What the project promises itself of calls, and whether this run says so.
//!
//! Ratios are to `balance_list` in the same round, their medians over rounds decide. A goal whose cell or client was not measured is
//! named as such, never as met.

use std::fmt;

use super::cell::Cell;
use super::subject::Subject;

/// What a measured value is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Figure {
    /// A figure against `balance_list`.
    Ratio(&'static str),
    /// CPU against our channel with nothing switched on, in the same round.
    OverPlain,
    /// Allocations per call.
    Allocations,
    /// Instructions per call through our channel, against our transport alone.
    OverTransport,
}

/// One line of the table of goals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    /// The name of a cell.
    pub(crate) cell: &'static str,
    pub(crate) subject: Subject,
    pub(crate) figure: Figure,
    pub(crate) bound: Bound,
}

const CPU: Figure = Figure::Ratio("CPU µs");
const RATE: Figure = Figure::Ratio("calls/s");
const P50: Figure = Figure::Ratio("p50 µs");

const fn goal(id: &'static str, cell: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { id, cell, subject: Subject::RoundRobin, figure, bound }
}

const fn all_on(cell: &'static str) -> Goal {
    Goal { subject: Subject::Everything, ..goal("all on", cell, Figure::OverPlain, Bound::AtMost(1.05)) }
}

/// All of them; E1 to E3 are of picks.
pub(crate) const GOALS: [Goal; 19] = [
    goal("E4", "light/split/unary/100B/4ep/plain/c128", CPU, Bound::AtMost(0.62)),
    goal("E4", "tonic/split/unary/100B/4ep/plain/c128", CPU, Bound::AtMost(0.66)),
    goal("E4", "light/split/unary/100B/4ep/plain/c16", CPU, Bound::AtMost(0.75)),
    goal("E4", "tonic/split/unary/100B/4ep/plain/c16", CPU, Bound::AtMost(0.75)),
    goal("E4", "light/same/unary/100B/4ep/plain/c1", CPU, Bound::AtMost(0.78)),
    goal("E4", "tonic/same/unary/100B/4ep/plain/c1", CPU, Bound::AtMost(0.78)),
    goal("E5", "light/split/unary/100B/4ep/plain/c128", RATE, Bound::AtLeast(1.7)),
    goal("E5", "tonic/split/unary/100B/4ep/plain/c128", RATE, Bound::AtLeast(1.3)),
    goal("E5", "tonic/two/unary/100B/4ep/plain/c128", RATE, Bound::AtLeast(1.35)),
    goal("E6", "tonic/same/unary/100B/4ep/plain/c1", P50, Bound::AtMost(0.75)),
    goal("E7", "light/split/unary/100B/4ep/plain/c128/extras", Figure::Allocations, Bound::AtMost(20.0)),
    Goal {
        subject: Subject::Deadline,
        ..goal("E7", "light/split/unary/100B/4ep/plain/c128/extras", Figure::Allocations, Bound::AtMost(22.0))
    },
    goal("E8", "light/split/unary/100B/1ep/plain/c128", Figure::OverTransport, Bound::AtMost(1.01)),
    goal("E9", "light/two/unary/100B/4ep/plain/c128", CPU, Bound::AtMost(0.66)),
    goal("E9", "tonic/two/unary/100B/4ep/plain/c128", CPU, Bound::AtMost(0.66)),
    goal("E10", "light/split/unary/1KiB/4ep/plain/c128", CPU, Bound::AtMost(0.60)),
    goal("E10", "light/split/unary/1KiB/4ep/plain/c128", RATE, Bound::AtLeast(1.7)),
    all_on("light/split/unary/100B/4ep/plain/c128/extras"),
    all_on("tonic/split/unary/100B/4ep/plain/c16/extras"),
];

impl Goal {
    pub(crate) fn is_of(&self, cell: &Cell) -> bool {
        cell.to_string() == self.cell
    }

    /// `yes`, `no`, or that nobody knows.
    pub(crate) fn verdict(&self, measured: Option<f64>) -> &'static str {
        match measured.map(|value| self.bound.holds(value)) {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        }
    }

    /// What is measured, in words.
    pub(crate) fn what(&self) -> String {
        let figure = match self.figure {
            Figure::Ratio(figure) => format!("{} against balance_list", figure.trim_end_matches(" µs")),
            Figure::OverPlain => "CPU against round_robin with nothing on".to_owned(),
            Figure::Allocations => "allocations per call".to_owned(),
            Figure::OverTransport => "instructions per call against the transport alone".to_owned(),
        };
        match self.subject {
            Subject::RoundRobin => figure,
            subject => format!("{figure}, {subject}"),
        }
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}
