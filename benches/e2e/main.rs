//! Unary calls end to end, beside tonic's own channels, in one run.
//!
//! `cargo bench --bench e2e [-- --quick] [--rounds N] [--millis N] [--server light|tonic] [--placement split|same|two]`
//!
//! Every round measures every client once, in turn, so that what disturbs the machine disturbs all of them; what counts is the median
//! over rounds of the ratio to `balance_list` in the same round. The servers run in another process. Client CPU is what the kernel
//! charged this process per call, the steadiest figure of all.
//!
//! `cargo bench --bench e2e -- --count CLIENT CALLS CONCURRENCY` makes that many calls with one client (0 is `balance_list`, 2 is ours)
//! and ends; 5 has retries, breakers and ejection with nothing to do. With the feature `prometheus` there are two more: 6 has an observer that does
//! nothing, 7 every metric there is. Under `valgrind --tool=callgrind` the difference of two such runs is instructions per call, which no
//! neighbour disturbs.

mod client;
mod measure;
mod report;
mod server;

use std::error::Error;
use std::time::Duration;

use client::Kind;
use lb_bench::{Measured, Placement, Rounds, Suite};
use report::Report;
use server::{ServerKind, Servers};

/// Calls at once.
const CONCURRENCY: [usize; 3] = [1, 16, 128];

struct Options {
    common: lb_bench::Options,
    rounds: usize,
    round: Duration,
    servers: Vec<ServerKind>,
    placements: Vec<Placement>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == server::SERVE) {
        return server::serve();
    }
    if let [flag, client, calls, concurrency] = &arguments[..]
        && flag == "--count"
    {
        return count(client.parse()?, calls.parse()?, concurrency.parse()?);
    }
    let options = Options::parse(arguments)?;
    let suite = Suite::new("e2e", "Unary calls end to end, beside tonic's own channels", &options.common)?;
    let mut report = Report::new(suite);
    for server in &options.servers {
        for placement in &options.placements {
            let servers = Servers::spawn(*server)?;
            placement.pin(servers.id());
            for concurrency in CONCURRENCY {
                eprintln!("{server} server, {placement}, {concurrency} at once …");
                let rounds = placement.runtime()?.block_on(run(&options, &servers, concurrency))?;
                report.add(*server, *placement, concurrency, &rounds)?;
            }
        }
    }
    report.write()
}

/// A number of calls by one client on one thread.
fn count(client: usize, calls: usize, concurrency: usize) -> Result<(), Box<dyn Error>> {
    let servers = Servers::spawn(ServerKind::Light)?;
    let kind = *Kind::ALL.get(client).ok_or("there is no such client")?;
    Placement::Split.runtime()?.block_on(async {
        let client = client::connect(kind, &servers).await?;
        measure::repeat(&client, concurrency, calls / concurrency).await
    })
}

/// Measures every client in every round.
async fn run(options: &Options, servers: &Servers, concurrency: usize) -> Result<Measured, Box<dyn Error>> {
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(client::connect(*kind, servers).await?);
    }
    let mut rounds = Rounds::new(Kind::ALL.iter().map(|kind| kind.name()), options.rounds)?;
    for visit in rounds.visits() {
        rounds.record(visit, measure::measure(&clients[visit.subject], concurrency, options.round).await?);
    }
    Ok(rounds.finish()?)
}

impl Options {
    fn parse(arguments: Vec<String>) -> Result<Self, Box<dyn Error>> {
        let common = lb_bench::Options::parse(arguments)?;
        let mut options = Self {
            rounds: common.rounds(9, 3),
            round: Duration::from_millis(if common.quick { 100 } else { 250 }),
            servers: ServerKind::ALL.to_vec(),
            placements: Placement::ALL.to_vec(),
            common,
        };
        let mut rest = options.common.rest.iter();
        while let Some(flag) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--millis" => options.round = Duration::from_millis(value()?.parse().map_err(|_| "--millis needs a number")?),
                "--server" => options.servers = vec![value()?.parse()?],
                "--placement" => options.placements = vec![value()?.parse()?],
                _ => return Err(format!("unknown flag {flag}; see the head of benches/e2e/main.rs").into()),
            }
        }
        Ok(options)
    }
}
