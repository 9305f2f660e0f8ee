//! Medians of ratios, as a table.

use std::fmt;

use super::client::Kind;
use super::measure::Sample;
use super::placement::Placement;
use super::server::ServerKind;

/// Everything measured.
#[derive(Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

struct Section {
    server: ServerKind,
    placement: Placement,
    concurrency: usize,
    /// By round, then by client in the order of [`Kind::ALL`].
    rounds: Vec<Vec<Sample>>,
}

impl Report {
    pub(crate) fn add(&mut self, server: ServerKind, placement: Placement, concurrency: usize, rounds: Vec<Vec<Sample>>) {
        self.sections.push(Section { server, placement, concurrency, rounds });
    }
}

impl Section {
    /// Median, least and greatest over rounds.
    fn spread(&self, of: impl Fn(&[Sample]) -> f64) -> [f64; 3] {
        let mut values: Vec<f64> = self.rounds.iter().map(|round| of(round)).collect();
        values.sort_unstable_by(f64::total_cmp);
        [values[values.len() / 2], values[0], values[values.len() - 1]]
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, place: usize, kind: Kind) -> fmt::Result {
        let ratio = |part: fn(&Sample) -> f64| self.spread(|round| part(&round[place]) / part(&round[0]));
        let value = |part: fn(&Sample) -> f64| self.spread(|round| part(&round[place]))[0];
        let [cpu, least, most] = ratio(|sample| sample.cpu);
        writeln!(
            f,
            "| {} | {cpu:.2} [{least:.2}–{most:.2}] | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
            kind.name(),
            ratio(|sample| sample.calls_per_second)[0],
            ratio(|sample| sample.p50)[0],
            ratio(|sample| sample.p99)[0],
            value(|sample| sample.cpu),
            value(|sample| sample.calls_per_second),
            value(|sample| sample.p50),
            value(|sample| sample.p99),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Ratios to `balance_list` in the same round, medians over rounds [least–most]; then absolute medians.")?;
        for section in &self.sections {
            writeln!(f, "\n{} server, {}, {} at once\n", section.server, section.placement, section.concurrency)?;
            writeln!(f, "| client | CPU | calls/s | p50 | p99 | CPU µs | calls/s | p50 µs | p99 µs |")?;
            writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
            for (place, kind) in Kind::ALL.iter().copied().enumerate() {
                section.row(f, place, kind)?;
            }
        }
        Ok(())
    }
}
