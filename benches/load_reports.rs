//! What load reports cost per unary call, on both sides, in one run.
//!
//! `cargo bench --bench load_reports [-- --rounds N]`
//!
//! Four tonic servers per kind in a process of their own, on one core; one client on the other, round robin over them, with and without
//! reading the reports. Every round measures every pair once, in turn, and what counts is the median over rounds of the ratio to the
//! first pair in the same round. CPU is what the kernel charged each process per call.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel::policies::RoundRobin;
use evenkeel::{LbChannel, LbState, LoadReports, Plan, Policy, PolicyChoice, SubchannelView};
use lb_server::{LoadRecorder, LoadReportLayer, Trailers};
use lb_testkit::EchoServer;
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// The argument that makes this program a servers' process; the kind follows.
const SERVE: &str = "--serve";

const SERVERS: usize = 4;
const CONCURRENCY: [usize; 2] = [16, 128];
const ROUND: Duration = Duration::from_millis(300);

/// What is measured: the servers' kind, and whether the client reads.
const PAIRS: [(&str, bool); 7] = [
    ("plain", false),
    ("plain", true),
    ("measuring", false),
    ("default", true),
    ("every", false),
    ("every", true),
    ("every, no call recorder", true),
];

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &arguments[..] {
        [flag, kind] if flag == SERVE => runtime.block_on(serve(kind)),
        [flag, rounds] if flag == "--rounds" => runtime.block_on(compare(rounds.parse()?)),
        _ => runtime.block_on(compare(9)),
    }
}

/// The layer of a kind of servers; `None` is none.
fn layer(kind: &str) -> Result<Option<LoadReportLayer>, Failure> {
    let layer = LoadReportLayer::new(LoadRecorder::new());
    Ok(match kind {
        "plain" => None,
        "measuring" => Some(layer.trailers(Trailers::never())),
        "default" => Some(layer),
        "every" => Some(layer.trailers(Trailers::on_every_call())),
        "every, no call recorder" => Some(layer.trailers(Trailers::on_every_call()).without_call_recorders()),
        _ => return Err(format!("there are no servers of the kind {kind}").into()),
    })
}

/// Serves until the input ends.
async fn serve(kind: &str) -> Result<(), Failure> {
    for _ in 0..SERVERS {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let ((_, echo), incoming) = (EchoServer::builder().service(), TcpListenerStream::new(listener));
        match layer(kind)? {
            None => drop(tokio::spawn(Server::builder().add_service(echo).serve_with_incoming(incoming))),
            Some(layer) => drop(tokio::spawn(Server::builder().layer(layer).add_service(echo).serve_with_incoming(incoming))),
        }
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Round robin that asks for reports, as policies do that learn from them.
#[derive(Debug, Default)]
struct Reading(RoundRobin);

impl Policy for Reading {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let mut wanted = LoadReports::default();
        wanted.per_call = true;
        plan.load_reports.merge(wanted);
        self.0.rebuild(now, view, plan)
    }
}

/// A client and the servers it calls.
struct Pair {
    name: String,
    process: Child,
    client: EchoClient<LbChannel>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        // It ends with its input anyway; an error here means it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Pair {
    async fn start((kind, reads): (&str, bool)) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.args([SERVE, kind]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("the servers' process has no output")?;
        let addresses: Vec<String> = BufReader::new(output).lines().take(SERVERS).collect::<Result<_, _>>()?;
        confine(process.id(), "1");
        let policy = match reads {
            true => PolicyChoice::custom("reading", Reading::default()),
            false => RoundRobin::default().into(),
        };
        let target = format!("static:///{}", addresses.join(","));
        let channel = LbChannel::builder(target).policy(policy).connect(Duration::from_secs(10)).await?;
        let name = format!("{kind}{}", if reads { ", read" } else { "" });
        Ok(Self { name, process, client: EchoClient::new(channel) })
    }

    /// Microseconds of CPU per call: the client's and the servers'.
    async fn measure(&self, concurrency: usize) -> Result<[f64; 2], Failure> {
        let (server, begun) = (self.process.id().to_string(), Instant::now());
        let before = [cpu_time("self")?, cpu_time(&server)?];
        let mut tasks = Vec::new();
        for _ in 0..concurrency {
            let mut client = self.client.clone();
            tasks.push(tokio::spawn(async move {
                let mut calls = 0;
                while begun.elapsed() < ROUND {
                    client.unary(EchoRequest { payload: bytes::Bytes::from_static(&[7; 100]), ..EchoRequest::default() }).await?;
                    calls += 1;
                }
                Ok::<u64, tonic::Status>(calls)
            }));
        }
        let mut calls = 0;
        for task in tasks {
            calls += task.await??;
        }
        let after = [cpu_time("self")?, cpu_time(&server)?];
        Ok(std::array::from_fn(|side| (after[side] - before[side]) / calls as f64))
    }
}

/// CPU time of all threads of a process, in microseconds as the scheduler counts them.
fn cpu_time(process: &str) -> Result<f64, Failure> {
    let mut nanos = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += schedstat.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
    }
    Ok(nanos / 1000.0)
}

/// Keeps a process on these cores; where there is no `taskset` it is not kept anywhere.
fn confine(process: u32, cores: &str) {
    let _ = Command::new("taskset").args(["-acp", cores, &process.to_string()]).stdout(Stdio::null()).status();
}

async fn compare(rounds: usize) -> Result<(), Failure> {
    confine(std::process::id(), "0");
    let mut pairs = Vec::new();
    for pair in PAIRS {
        pairs.push(Pair::start(pair).await?);
    }
    for concurrency in CONCURRENCY {
        let mut samples = vec![Vec::new(); pairs.len()];
        for round in 0..=rounds {
            for (pair, samples) in pairs.iter().zip(&mut samples) {
                let sample = pair.measure(concurrency).await?;
                // The first round warms up.
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        println!("{concurrency} at once\n| servers, client | client us | ratio | servers us | ratio |\n|---|---|---|---|---|");
        for (pair, own) in pairs.iter().zip(&samples) {
            let column = |side: usize| {
                let ratios = own.iter().zip(&samples[0]).map(|(own, base)| own[side] / base[side]);
                (median(own.iter().map(|sample| sample[side])), median(ratios))
            };
            let ((client, client_ratio), (server, server_ratio)) = (column(0), column(1));
            println!("| {} | {client:.2} | {client_ratio:.3} | {server:.2} | {server_ratio:.3} |", pair.name);
        }
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
