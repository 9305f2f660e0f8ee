//! What an endpoint costs: memory, tasks, sockets.

use std::error::Error;

use lb_bench::{Bars, Column, Options, Rounds, Sample, Suite, Table};

use super::client::{Kind, SUBSET};
use super::probe::{self, Probed};
use super::servers::Servers;

type Failure = Box<dyn Error + Send + Sync>;

/// What is divided by the number of endpoints, and what is not.
const PER_ENDPOINT: [&str; 6] = ["idle heap", "idle RSS", "active heap", "active RSS", "tasks", "sockets"];

/// Memory per endpoint that is connected: idle, and after some calls.
pub(crate) fn per_endpoint(suite: &mut Suite, options: &Options, tls: bool) -> Result<(), Failure> {
    let endpoints = if options.quick { 50 } else { 500 };
    let servers = Servers::start(endpoints, tls)?;
    let security = if tls { "TLS" } else { "plain" };
    let kinds = [Kind::RoundRobin, Kind::BalanceList, Kind::Channels];
    let rounds = Rounds::new(kinds.map(Kind::name), options.rounds(5, 1))?;
    let measured = rounds.run(|place| {
        let probed = probe::run(kinds[place], &servers)?;
        Ok::<_, Failure>(sample(&probed, endpoints as f64))
    })?;
    let mut columns = vec![Column::left("client")];
    columns.extend(["idle heap KB", "idle RSS KB", "active heap KB", "active RSS KB", "tasks", "sockets"].map(Column::right));
    let mut table = Table::new(columns);
    let mut bars = Bars::new(format!("Heap of an endpoint that has served calls, {security}"), "KB");
    for (place, kind) in kinds.into_iter().enumerate() {
        let value = |figure: &str| measured.spread(place, figure).map(|spread| format!("{:.1}", spread.median));
        let values = PER_ENDPOINT.into_iter().map(value).collect::<Result<Vec<_>, _>>()?;
        table.push([kind.name().to_owned()].into_iter().chain(values))?;
        bars.push(kind.name(), measured.spread(place, "active heap")?);
    }
    suite.section(&format!("An endpoint, {security}"));
    suite.note(format!("{endpoints} endpoints, what the process holds more than before, divided by them; 1 KB = 1000 bytes."));
    suite.table(&table);
    suite.plot(bars);
    suite.measured(&format!("endpoint, {security}"), &measured)?;
    Ok(())
}

/// Figures per endpoint; memory in KB of 1000 bytes.
fn sample(probed: &Probed, endpoints: f64) -> Sample {
    let kilobytes = |bytes: f64| bytes / endpoints / 1e3;
    Sample::new()
        .with(PER_ENDPOINT[0], kilobytes(probed.idle.heap))
        .with(PER_ENDPOINT[1], kilobytes(probed.idle.resident))
        .with(PER_ENDPOINT[2], kilobytes(probed.active.heap))
        .with(PER_ENDPOINT[3], kilobytes(probed.active.resident))
        .with(PER_ENDPOINT[4], probed.idle.tasks / endpoints)
        .with(PER_ENDPOINT[5], probed.idle.sockets / endpoints)
}

/// A large fleet: all of it connected, and a subset.
pub(crate) fn fleet(suite: &mut Suite, options: &Options, servers: &Servers) -> Result<(), Failure> {
    let endpoints = servers.addresses.len();
    let kinds = [Kind::Subset, Kind::RoundRobin, Kind::BalanceList];
    let names = kinds.map(|kind| match kind {
        Kind::Subset => format!("random_subsetting, {SUBSET} connected"),
        other => format!("{}, all connected", other.name()),
    });
    let rounds = Rounds::new(names.iter().cloned(), options.rounds(3, 1))?;
    let measured = rounds.run(|place| {
        let probed = probe::run(kinds[place], servers)?;
        let (held, megabytes) = (probed.idle, 1e6);
        let memory = Sample::new().with("heap", held.heap / megabytes).with("RSS", held.resident / megabytes);
        let counts = memory.with("tasks", held.tasks).with("sockets", held.sockets);
        let times = counts.with("first", probed.first.as_secs_f64() * 1e3).with("connected", probed.connected.as_secs_f64() * 1e3);
        Ok::<_, Failure>(times)
    })?;
    let mut columns = vec![Column::left("client")];
    let figures = [("heap", "heap MB"), ("RSS", "RSS MB"), ("tasks", "tasks"), ("sockets", "sockets")];
    columns.extend(figures.map(|(_, name)| Column::right(name)));
    columns.extend(["first reply ms", "all connected ms"].map(Column::right));
    let (mut table, mut bars) = (Table::new(columns), Bars::new(format!("{endpoints} endpoints: heap"), "MB"));
    for (place, name) in names.iter().enumerate() {
        let value =
            |figure: &str, digits: usize| measured.spread(place, figure).map(|spread| format!("{:.digits$}", spread.median));
        let mut cells = vec![name.clone(), value("heap", 1)?, value("RSS", 1)?, value("tasks", 0)?, value("sockets", 0)?];
        cells.extend([value("first", 1)?, value("connected", 0)?]);
        table.push(cells)?;
        bars.push(name.clone(), measured.spread(place, "heap")?);
    }
    suite.section(&format!("{endpoints} endpoints"));
    suite.note("Idle; from building the channel to its first reply, and until all it connects to are connected.");
    suite.table(&table);
    suite.plot(bars);
    suite.measured("fleet", &measured)?;
    Ok(())
}
