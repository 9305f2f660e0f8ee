//! Calls end to end, beside tonic's own channels and other makers' clients, in one run.
//!
//! `cargo xtask bench e2e [-- FLAGS]`, or `cargo bench --features prometheus,tls-ring --bench e2e -- FLAGS` without other makers' clients
//!
//! | flag | meaning |
//! |---|---|
//! | `--only PART,…` | of the usual cells those whose name has all these parts: `--only tonic,c16,tls` |
//! | `--cell CELL` | this cell and no usual one: `tonic/two/stream/10KB/4ep/tls/c64`; may be repeated |
//! | `--subjects NAME,…` | these clients only, and `balance_list`, the base |
//! | `--rounds N`, `--millis N` | how many rounds, and how long one client is measured in each |
//! | `--no-instructions` | no counting under `valgrind`, which takes a minute |
//! | `--quick` | six cells, short |
//!
//! Every round measures every client once, in turn, so that what disturbs the machine disturbs all of them; what counts is the median
//! over rounds of the ratio to `balance_list` in the same round. The servers run in another process. Client CPU is what the kernel
//! charged the client's process per call, the steadiest figure of all. Allocations are counted apart from the timed rounds, in the same channels.
//!
//! Everything by everything would take hours, so each axis is varied alone from 100 bytes, unary, plain, four endpoints: `Cell::usual` has the
//! list.
//!
//! `-- --count CLIENT CALLS CONCURRENCY` makes that many calls with one client, by name (`round_robin`) or number, and ends; `-- --count CLIENT
//! CALLS --cell CELL` does so in any cell. Under `valgrind --tool=callgrind` the difference of two such runs is instructions per call, which
//! no neighbour disturbs; a whole run does that by itself.

mod cell;
mod client;
mod foreign;
mod goals;
mod instructions;
mod measure;
mod options;
mod report;
mod run;
mod server;
mod subject;
mod summary;

use std::error::Error;
use std::path::Path;

use lb_bench::Options;
use lb_testkit::metered::MeteredAllocator;

use cell::Cell;
use client::{Client, Target};
use options::{Plan, Task};
use server::Servers;
use subject::Subject;

#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;

fn main() -> Result<(), Box<dyn Error>> {
    match Task::parse(Options::from_env()?)? {
        Task::Serve(kind, certificates) => server::serve(kind, certificates.as_deref().map(Path::new)),
        Task::Count(subject, calls, cell) => count(subject, calls, &cell),
        Task::Measure(plan) => measure(&plan),
    }
}

/// Measures all cells; one that fails is named in the report, and costs none of the others.
fn measure(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let (suite, mut outcomes, mut failures) = (report::begin(plan)?, Vec::new(), Vec::new());
    // One process of servers for all neighbouring cells it fits.
    let mut servers: Option<(Cell, Servers)> = None;
    for (place, cell) in plan.cells.iter().copied().enumerate() {
        eprintln!("{} of {}: {cell}", place + 1, plan.cells.len());
        let kept = servers.take().filter(|(of, _)| (of.server, of.tls) == (cell.server, cell.tls));
        let ready = kept.map_or_else(|| Servers::spawn(cell.server, cell.tls), |(_, servers)| Ok(servers));
        match ready.and_then(|ready| Ok((run::cell(plan, cell, &ready)?, ready))) {
            Ok((outcome, ready)) => {
                outcomes.push(outcome);
                servers = Some((cell, ready));
            }
            Err(error) => failures.push(format!("{cell}: {error}")),
        }
    }
    drop(servers);
    let instructions = if plan.instructions { instructions::count() } else { Ok(None) };
    let instructions = instructions.unwrap_or_else(|error| {
        failures.push(format!("instructions: {error}"));
        None
    });
    report::write(suite, &outcomes, instructions.as_deref(), &failures)?;
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// A number of calls by one client.
fn count(subject: Subject, calls: usize, cell: &Cell) -> Result<(), Box<dyn Error>> {
    if let Subject::Peer(_) = subject {
        return Err(format!("{subject} is another process, and its calls are not this one's").into());
    }
    let servers = Servers::spawn(cell.server, cell.tls)?;
    let ca = servers.ca().map(std::fs::read_to_string).transpose()?;
    cell.placement.runtime()?.block_on(async {
        let target = Target { addresses: servers.addresses(cell.endpoints), ca: ca.as_deref() };
        let client = Client::connect(subject, &target).await?;
        measure::repeat(&client, cell, calls).await
    })
}
