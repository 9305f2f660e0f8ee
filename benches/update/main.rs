//! What a change of the endpoints costs: to make a snapshot of it, to reach a pick, and to the calls meanwhile.
//!
//! `cargo bench --bench update [-- --quick] [--rounds N] [machine] [use] [flapping]`
//!
//! - **machine**: the state machine alone, from the resolver's answer to the published snapshot and the end of the one before it: time,
//!   allocations and their bytes. What makes the answer is not measured, what takes it apart is.
//! - **use**: a channel, from the moment its resolver has the answer to the first pick that goes by it.
//! - **flapping**: calls to four servers in another process while one endpoint among many comes and goes a thousand times a second, beside
//!   the same calls in quiet. The many are a standby group: listed, weighed at every change, and not connected.
//!
//! Every round measures every case once, in turn; ratios are of the same round.

mod channel;
mod machine;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use evenkeel::Endpoint;
use lb_bench::{Column, Measured, Options, Suite, Table};
use lb_testkit::count::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SIZES: [u32; 2] = [1_000, 10_000];

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some_and(|first| first == channel::SERVE) {
        return channel::serve();
    }
    let options = Options::from_env()?;
    let mut suite = Suite::new("update", "What a change of the endpoints costs", &options)?;
    if options.wants("machine") {
        suite.section("From the resolver's answer to the published snapshot");
        for count in SIZES {
            let measured = machine::measure(count, options.rounds(15, 3))?;
            add(
                &mut suite,
                &format!("machine, {count} endpoints"),
                &measured,
                &[(machine::TIME, 0), ("allocations", 0), ("bytes", 0)],
            )?;
        }
    }
    if options.wants("use") {
        suite.section("From the resolver's answer to the first pick that goes by it");
        let measured = channel::time_to_use(options.rounds(9, 2))?;
        add(&mut suite, "use", &measured, &[(channel::MEDIAN, 0), (channel::WORST, 0)])?;
    }
    if options.wants("flapping") {
        suite.section("Calls while an endpoint comes and goes 1 000 times a second");
        let measured = channel::flapping(options.rounds(15, 2), options.quick)?;
        add(&mut suite, "flapping", &measured, &[("calls/s", 0), ("cpu µs", 1), ("p50 µs", 0), ("p99 µs", 0), ("p99.9 µs", 0)])?;
    }
    suite.write()?;
    Ok(())
}

/// A table of these figures with so many decimals, each beside its ratio to the first subject's.
fn add(suite: &mut Suite, group: &str, measured: &Measured, figures: &[(&str, usize)]) -> Result<(), Box<dyn Error>> {
    let heads = figures.iter().flat_map(|(figure, _)| [Column::right(*figure), Column::right("ratio")]);
    let mut table = Table::new([Column::left(group)].into_iter().chain(heads));
    for (subject, name) in measured.subjects().iter().enumerate() {
        let mut row = vec![name.clone()];
        for (figure, digits) in figures {
            row.push(format!("{:.digits$}", measured.spread(subject, figure)?.median));
            // What is nothing at all has no ratio.
            row.push(measured.ratio(subject, 0, figure).map_or_else(|_| "–".to_owned(), |ratio| format!("{ratio}")));
        }
        table.push(row)?;
    }
    suite.table(&table);
    suite.measured(group, measured)?;
    Ok(())
}

/// One of many, which nobody connects to.
fn endpoint(index: u32, weight: u32) -> Endpoint {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + index));
    Endpoint::new(SocketAddr::new(address, 50051)).with_weight(weight)
}
