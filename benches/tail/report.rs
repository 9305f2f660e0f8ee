//! Tables and plots.

use lb_bench::{Bars, BenchError, Column, Latencies, Spread, Suite, Table};
use serde_json::json;

use super::Run;
use super::scenario::{Arrivals, Scenario};

/// The runs of each arm, in the order of rounds.
pub(crate) struct Results {
    arms: Vec<(String, Vec<Run>)>,
}

/// What the slowest calls of others are compared with: the policy that notices nothing.
const BASE: &str = "round_robin";

/// In microseconds, a good part of the shortest call: where calls begin later, latencies say more of the machine than of endpoints.
const TOO_LATE: f64 = 3000.0;

impl Results {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { arms: names.into_iter().map(|name| (name, Vec::new())).collect() }
    }

    pub(crate) fn push(&mut self, arm: usize, run: Run) {
        self.arms[arm].1.push(run);
    }

    fn p99(&self, arm: usize) -> impl Iterator<Item = f64> {
        self.arms[arm].1.iter().map(|run| run.outcome.p99())
    }

    fn base(&self) -> Option<usize> {
        self.arms.iter().position(|(name, _)| name == BASE)
    }
}

/// A mean over runs, weighted by what each is a share of.
fn share(runs: &[Run], part: impl Fn(&Run) -> f64, whole: impl Fn(&Run) -> f64) -> f64 {
    let (part, whole) = runs.iter().fold((0.0, 0.0), |sum, run| (sum.0 + part(run), sum.1 + whole(run)));
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// p50, p99 and p99.9 in milliseconds of all calls together; of a program that gives no more the mean over rounds.
fn quantiles(runs: &[Run]) -> [f64; 3] {
    let summaries: Vec<[f64; 3]> = runs.iter().filter_map(|run| run.outcome.summary).collect();
    if !summaries.is_empty() {
        return [0, 1, 2]
            .map(|place: usize| summaries.iter().map(|summary| summary[place]).sum::<f64>() / summaries.len() as f64 / 1e3);
    }
    let all: Vec<_> = runs.iter().flat_map(|run| run.outcome.latencies.iter().copied()).collect();
    let all = Latencies::from(all);
    [0.5, 0.99, 0.999].map(|quantile| all.quantile(quantile) / 1e3)
}

/// One scenario's table, plot and figures.
pub(crate) fn add(suite: &mut Suite, scenario: &Scenario, results: &Results) -> Result<(), BenchError> {
    let closed = matches!(scenario.arrivals, Arrivals::Closed(_));
    let mut columns = vec![Column::left("client")];
    let mut names = vec!["p50 ms", "p99 ms", "p99.9 ms", "p99 to `round_robin`", "failed %", "timed out %", "last endpoint %"];
    names.extend(["client CPU µs", "servers' CPU µs"]);
    if closed {
        names.push("calls/s");
    }
    columns.extend(names.into_iter().map(Column::right));
    let (mut table, mut bars) = (Table::new(columns), Bars::new(format!("{}: p99", scenario.name), "ms"));
    for (arm, (name, runs)) in results.arms.iter().enumerate() {
        let row = Row::of(results, arm, runs)?;
        bars.push(name.clone(), Spread::of(results.p99(arm))?);
        suite.fact(&format!("{}: {name}", scenario.name), row.json());
        table.push([name.clone()].into_iter().chain(row.cells(closed)))?;
    }
    suite.section(&format!("{}: {}", scenario.name, scenario.what));
    suite.table(&table);
    if let Arrivals::Open(rate) = scenario.arrivals {
        let late = results.arms.iter().flat_map(|(_, runs)| runs).map(|run| run.outcome.lateness());
        let late = Spread::of(late)?;
        suite
            .note(format!("{rate} calls a second; of the latest hundredth of a window's calls the first began {late:.0} µs late."));
        if late.median > TOO_LATE {
            suite.note("**The machine was too busy to begin calls in time: these figures are of the machine, not of policies.**");
        }
    }
    suite.plot(bars);
    Ok(())
}

struct Row {
    /// p50, p99, p99.9 in milliseconds.
    quantiles: [f64; 3],
    ratio: Option<Spread>,
    failed: f64,
    timed_out: f64,
    last: f64,
    cpu: [f64; 2],
    per_second: f64,
    calls: usize,
}

impl Row {
    fn of(results: &Results, arm: usize, runs: &[Run]) -> Result<Self, BenchError> {
        let calls = |run: &Run| run.outcome.calls() as f64;
        let ratio = results
            .base()
            .filter(|_| !runs.is_empty())
            .map(|base| Spread::of(results.p99(arm).zip(results.p99(base)).map(|(own, base)| own / base)));
        let cpu = [0, 1].map(|side: usize| share(runs, |run| run.cpu[side] * 1e6, calls));
        Ok(Self {
            quantiles: quantiles(runs),
            ratio: ratio.transpose()?,
            failed: share(runs, |run| run.outcome.failed as f64, calls),
            timed_out: share(runs, |run| run.outcome.timed_out as f64, calls),
            last: share(
                runs,
                |run| run.shares.last().map_or(0.0, |last| *last as f64),
                |run| run.shares.iter().sum::<u64>() as f64,
            ),
            cpu,
            per_second: share(runs, calls, |run| run.outcome.seconds),
            calls: runs.iter().map(|run| run.outcome.calls()).sum(),
        })
    }

    fn cells(&self, closed: bool) -> Vec<String> {
        let mut cells: Vec<String> = self.quantiles.iter().map(|value| format!("{value:.1}")).collect();
        cells.push(self.ratio.map_or_else(String::new, |ratio| ratio.to_string()));
        cells.extend([self.failed, self.timed_out].map(|share| format!("{:.2}", share * 100.0)));
        cells.push(format!("{:.1}", self.last * 100.0));
        cells.extend(self.cpu.map(|micros| format!("{micros:.0}")));
        if closed {
            cells.push(format!("{:.0}", self.per_second));
        }
        cells
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "p50 ms": self.quantiles[0],
            "p99 ms": self.quantiles[1],
            "p99.9 ms": self.quantiles[2],
            "failed": self.failed,
            "timed out": self.timed_out,
            "last endpoint": self.last,
            "client CPU us": self.cpu[0],
            "servers CPU us": self.cpu[1],
            "calls/s": self.per_second,
            "calls": self.calls,
        })
    }
}
