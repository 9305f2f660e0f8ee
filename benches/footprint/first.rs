//! From the start of a process to its first reply.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lb_bench::{Bars, Column, Options, Rounds, Sample, Suite, Table};
use serde_json::json;

use super::client::{Client, Kind, SUBSET};
use super::probe;
use super::servers::Servers;

/// The argument that makes this program a client that makes one call, or with [`NOTHING`] none.
pub(crate) const FIRST: &str = "--first";
pub(crate) const NOTHING: &str = "--nothing";

type Failure = Box<dyn Error + Send + Sync>;

/// In the client's process. The order is read first, by both: it can be long.
pub(crate) fn first(call: bool) -> Result<(), Failure> {
    let (kind, addresses, ca) = probe::order()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if call {
        runtime.block_on(async {
            let client = Client::build(kind, &addresses, ca.as_deref())?;
            client.call(&Bytes::from_static(&[7; 100])).await?;
            Ok::<_, Failure>(())
        })?;
    }
    println!("done");
    Ok(())
}

/// Whom to start: its name, the mode, the kind of client, how many endpoints, and whether with TLS.
type Subject = (String, &'static str, Kind, usize, bool);

fn subjects(many: usize) -> Vec<Subject> {
    let subject = |name: &str, kind, endpoints, tls| (name.to_owned(), FIRST, kind, endpoints, tls);
    vec![
        ("a process that does nothing".to_owned(), NOTHING, Kind::Channels, 1, false),
        subject("tonic Channel, 1 endpoint", Kind::Channels, 1, false),
        subject("round_robin, 1 endpoint", Kind::RoundRobin, 1, false),
        subject("tonic balance_list, 4 endpoints", Kind::BalanceList, 4, false),
        subject("round_robin, 4 endpoints", Kind::RoundRobin, 4, false),
        subject("tonic Channel, 1 endpoint, TLS", Kind::Channels, 1, true),
        subject("round_robin, 1 endpoint, TLS", Kind::RoundRobin, 1, true),
        subject(&format!("random_subsetting, {SUBSET} of {many} endpoints"), Kind::Subset, many, false),
    ]
}

/// The base of the ratios: tonic's `Channel` to one server.
const BASE: usize = 1;

pub(crate) fn measure(suite: &mut Suite, options: &Options, many: &Servers) -> Result<(), Failure> {
    let secure = Servers::start(1, true)?;
    let subjects = subjects(many.addresses.len());
    let rounds = Rounds::new(subjects.iter().map(|(name, ..)| name.clone()), options.rounds(21, 3))?;
    let measured = rounds.run(|subject| {
        let (_, mode, kind, endpoints, tls) = &subjects[subject];
        let (servers, ca) = if *tls { (&secure, &secure.ca) } else { (many, &None) };
        let order = json!({ "kind": kind.name(), "addresses": servers.addresses[..*endpoints], "ca": ca });
        Ok::<_, Failure>(Sample::new().with("ms", start(mode, &order.to_string())?.as_secs_f64() * 1e3))
    })?;
    let columns = [Column::left("client"), Column::right("ms"), Column::right("to tonic's `Channel`")];
    let (mut table, mut bars) = (Table::new(columns), Bars::new("From the start of the process to the first reply", "ms"));
    for (place, name) in measured.subjects().iter().enumerate() {
        let time = measured.spread(place, "ms")?;
        table.push([name.clone(), format!("{time:.1}"), measured.ratio(place, BASE, "ms")?.to_string()])?;
        bars.push(name.clone(), time);
    }
    suite.section("From the start of the process to the first reply");
    suite.note("One worker thread, release build; the program that does nothing starts tokio's runtime and ends.");
    suite.table(&table);
    suite.plot(bars);
    suite.measured("first reply", &measured)?;
    Ok(())
}

/// Starts this program; the time to the line that it prints.
fn start(mode: &str, order: &str) -> Result<Duration, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    input.ok_or("a child without input")?.write_all(order.as_bytes())?;
    let mut line = String::new();
    BufReader::new(output.ok_or("a child without output")?).read_line(&mut line)?;
    let took = begun.elapsed();
    child.wait()?;
    if line.trim_end() == "done" { Ok(took) } else { Err(format!("{mode} said {line:?}").into()) }
}
