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
mod placement;
mod report;
mod server;

use std::error::Error;
use std::time::Duration;

use client::Kind;
use measure::Sample;
use placement::Placement;
use report::Report;
use server::{ServerKind, Servers};

/// Calls at once.
const CONCURRENCY: [usize; 3] = [1, 16, 128];

struct Options {
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
    let options = Options::parse(&arguments)?;
    let mut report = Report::default();
    for server in &options.servers {
        for placement in &options.placements {
            let servers = Servers::spawn(*server)?;
            placement.pin(servers.id())?;
            for concurrency in CONCURRENCY {
                eprintln!("{server} server, {placement}, {concurrency} at once …");
                let rounds = placement.runtime()?.block_on(run(&options, &servers, concurrency))?;
                report.add(*server, *placement, concurrency, rounds);
            }
        }
    }
    print!("{report}");
    Ok(())
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
async fn run(options: &Options, servers: &Servers, concurrency: usize) -> Result<Vec<Vec<Sample>>, Box<dyn Error>> {
    let mut clients = Vec::new();
    for kind in Kind::ALL {
        clients.push(client::connect(*kind, servers).await?);
    }
    for client in &clients {
        measure::measure(client, concurrency, options.round / 2).await?;
    }
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut samples = Vec::new();
        for client in &clients {
            samples.push(measure::measure(client, concurrency, options.round).await?);
        }
        rounds.push(samples);
    }
    Ok(rounds)
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            rounds: 9,
            round: Duration::from_millis(250),
            servers: ServerKind::ALL.to_vec(),
            placements: Placement::ALL.to_vec(),
        };
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--quick" => (options.rounds, options.round) = (3, Duration::from_millis(100)),
                "--rounds" => options.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?,
                "--millis" => options.round = Duration::from_millis(value()?.parse().map_err(|_| "--millis needs a number")?),
                "--server" => options.servers = vec![value()?.parse()?],
                "--placement" => options.placements = vec![value()?.parse()?],
                _ => return Err(format!("unknown flag {flag}; see the head of benches/e2e/main.rs")),
            }
        }
        Ok(options)
    }
}
