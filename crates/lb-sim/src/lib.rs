//! A laboratory for load-balancing policies.
//!
//! It runs the real `lb-core` (the same machine, the same policies, on simulated time) against simulated servers: processor
//! sharing on cores that neighbours take away, slow ones, failing ones, ones that restart or come later. Everything random
//! comes from the seed; every policy meets the same calls.
//!
//! **What it is good for.** To see which policy holds up where, and to find out what a change to a policy does. **When not.** Its numbers
//! are not latencies of any real system: calls are CPU-bound, arrivals are Poisson, the network never loses anything, nobody
//! retries. Compare rows of one table; do not quote them.
//!
//! ```
//! use lb_sim::{Candidate, Scenario, run};
//!
//! let mut scenario = Scenario::load("prequal_fig7")?;
//! (scenario.warmup, scenario.seconds) = (0.5, 1.0);
//! let random: Candidate = "random".parse()?;
//! let tally = run(&scenario, 0.7, &random, 1, &mut |_| {})?;
//! assert!(tally.calls > 4_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod agenda;
mod call;
mod candidate;
pub mod cli;
mod client;
mod compare;
mod dice;
mod lineup;
mod oracle;
mod report;
mod scenario;
mod server;
mod signal;
mod sim;
mod tally;
mod time;
mod weather;

pub use candidate::Candidate;
pub use compare::{Comparison, Line};
pub use lineup::{LINEUP, lineup};
pub use report::{csv, markdown, svg, text};
pub use scenario::{Incident, Keys, Kind, Scenario, ScenarioError, Servers, What, Work, shipped};
pub use sim::{Progress, run};
pub use tally::Tally;
