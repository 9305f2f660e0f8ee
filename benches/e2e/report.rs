//! Medians of ratios, as a table for each condition.

use std::error::Error;

use lb_bench::{Bars, BenchError, Column, Measured, Placement, Suite, Table};

use super::measure::{CALLS, CPU};
use super::server::ServerKind;

/// The place of `balance_list`, to which all ratios are.
const BASE: usize = 0;
const P50: &str = "p50 µs";
const P99: &str = "p99 µs";

/// Everything measured.
pub(crate) struct Report {
    suite: Suite,
}

impl Report {
    pub(crate) fn new(mut suite: Suite) -> Self {
        suite.note("Ratios to `balance_list` in the same round, medians over rounds [least–most]; then absolute medians.");
        Self { suite }
    }

    pub(crate) fn add(
        &mut self,
        server: ServerKind,
        placement: Placement,
        concurrency: usize,
        measured: &Measured,
    ) -> Result<(), BenchError> {
        let headline = format!("{server} server, {placement}, {concurrency} at once");
        let columns = ["CPU", "calls/s", "p50", "p99", "CPU µs", "calls/s", "p50 µs", "p99 µs"].map(Column::right);
        let mut table = Table::new([Column::left("client")].into_iter().chain(columns));
        let mut bars = Bars::new(format!("CPU per call: {headline}"), "against balance_list").goal(1.0);
        for (place, name) in measured.subjects().iter().enumerate() {
            let ratio = |figure| measured.ratio(place, BASE, figure);
            let median = |figure| measured.spread(place, figure).map(|spread| spread.median);
            bars.push(name.clone(), ratio(CPU)?);
            table.push([
                name.clone(),
                ratio(CPU)?.to_string(),
                format!("{:.2}", ratio(CALLS)?.median),
                format!("{:.2}", ratio(P50)?.median),
                format!("{:.2}", ratio(P99)?.median),
                format!("{:.2}", median(CPU)?),
                format!("{:.0}", median(CALLS)?),
                format!("{:.0}", median(P50)?),
                format!("{:.0}", median(P99)?),
            ])?;
        }
        self.suite.section(&headline);
        self.suite.table(&table);
        self.suite.measured(&headline, measured)?;
        self.suite.plot(bars);
        Ok(())
    }

    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        self.suite.write()?;
        Ok(())
    }
}
