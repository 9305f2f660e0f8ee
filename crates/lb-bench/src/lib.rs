//! What the benchmark programs share.
//!
//! A machine that other programs use too changes its speed by a factor of two within minutes, so a figure alone says little. What holds is
//! a *ratio measured in one round*: every subject is measured once per round, in turn, the order turned by one place each round, so that
//! what disturbs the machine disturbs all of them alike. [`Rounds`] gives the order, [`Measured`] the figures and their ratios to a base as a
//! [`Spread`] over rounds: median, quartiles, least and most. A first round is measured and forgotten: caches, branch predictors and
//! connections are cold in it.
//!
//! ```no_run
//! # fn main() -> Result<(), lb_bench::BenchError> {
//! use lb_bench::{Bars, Column, Options, Rounds, Sample, Suite, Table};
//!
//! let options = Options::from_env()?;
//! let mut suite = Suite::new("hash", "Hashing a name", &options)?;
//! let mut rounds = Rounds::new(["sip", "fnv"], options.rounds(15, 3))?;
//! for visit in rounds.visits() {
//!     let nanoseconds = if visit.subject == 0 { 12.0 } else { 3.0 }; // measured
//!     rounds.record(visit, Sample::new().with("ns", nanoseconds));
//! }
//! let measured = rounds.finish()?;
//! let mut table = Table::new([Column::left("hash"), Column::right("ns"), Column::right("against sip")]);
//! let mut bars = Bars::new("Nanoseconds", "ns");
//! for (subject, name) in measured.subjects().iter().enumerate() {
//!     let time = measured.spread(subject, "ns")?;
//!     table.push([name.clone(), format!("{time:.1}"), format!("{:.2}", measured.ratio(subject, 0, "ns")?)])?;
//!     bars.push(name.clone(), time);
//! }
//! suite.measured("hash", &measured)?;
//! suite.table(&table);
//! suite.plot(bars);
//! suite.write()?; // target/bench/hash.md, .json and .svg, and the tables on standard output
//! # Ok(())
//! # }
//! ```
//!
//! Progress goes to standard error, results to standard output and `target/bench`. Never published, and no library uses it: only programs
//! that measure. Not for counts that nothing disturbs (allocations, instructions): those are asserted in tests, once.

mod arrivals;
mod cpu;
mod error;
mod head;
mod latency;
mod options;
pub mod peer;
mod placement;
mod plot;
mod rounds;
mod stats;
mod suite;
mod table;

pub use arrivals::Arrivals;
pub use cpu::{cpu_time, cpu_time_of, cpu_time_of_children};
pub use error::BenchError;
pub use head::Head;
pub use latency::Latencies;
pub use options::Options;
pub use placement::Placement;
pub use plot::{Bars, Lines, Plot};
pub use rounds::{Measured, Rounds, Sample, Visit};
pub use stats::Spread;
pub use suite::{Suite, Written};
pub use table::{Column, Table};
