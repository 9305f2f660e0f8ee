//! A channel whose resolver says what it is told, over servers in another process.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel::resolver::{ManualHandle, ManualResolver};
use evenkeel::{Endpoint, LbChannel, PickOptions, ResolverUpdate};
use lb_bench::{Latencies, Measured, Rounds, Sample, Spread, cpu_time};
use lb_testkit::LightServer;
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use tokio::runtime::Runtime;

use super::{SIZES, endpoint};

/// The argument that makes this program the servers' process.
pub(crate) const SERVE: &str = "--serve";

const SERVERS: usize = 4;
/// Microseconds, of the updates of a round.
pub(crate) const MEDIAN: &str = "median µs";
pub(crate) const WORST: &str = "longest µs";

/// Updates of a case in a round.
const UPDATES: u32 = 20;
/// Between two of them: longer than the driver rests after one.
const PAUSE: Duration = Duration::from_millis(30);
/// A thousand a second.
const FLAP: Duration = Duration::from_millis(1);
const CALLERS: usize = 16;

/// A channel with so many endpoints: the servers, whose weight tells one update from the next, and a group that stands by.
struct Subject {
    channel: LbChannel,
    resolver: ManualHandle,
    servers: Vec<SocketAddr>,
    standby: Vec<Endpoint>,
}

impl Subject {
    async fn new(servers: &[SocketAddr], endpoints: u32) -> Result<Self, Box<dyn Error>> {
        let (resolver, handle) = ManualResolver::new("told");
        let mut standby: Vec<Endpoint> = (0..endpoints - servers.len() as u32).map(|index| endpoint(index, 1)).collect();
        standby.iter_mut().for_each(|endpoint| endpoint.attributes.priority = 1);
        let builder = LbChannel::builder("told:///servers").resolver(resolver).policy("round_robin").idle_timeout(None);
        let subject = Self { channel: builder.build()?, resolver: handle, servers: servers.to_vec(), standby };
        subject.resolver.update(subject.update(1, 0));
        drop(subject.channel.pick(PickOptions::new().wait_for_ready(true)).await?);
        Ok(subject)
    }

    /// With this weight of the servers, and without so many of the others.
    fn update(&self, weight: u32, gone: usize) -> ResolverUpdate {
        let servers = self.servers.iter().map(|address| Endpoint::new(*address).with_weight(weight));
        ResolverUpdate::new(servers.chain(self.standby[gone..].iter().cloned()).collect())
    }

    /// Until a pick goes by this update.
    async fn until_used(&self, weight: u32) -> Result<(), Box<dyn Error>> {
        while self.channel.pick(PickOptions::new()).await?.attributes().weight != weight {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

pub(crate) fn time_to_use(rounds: usize) -> Result<Measured, Box<dyn Error>> {
    let (servers, runtime) = (Servers::spawn()?, runtime()?);
    let subjects = runtime.block_on(subjects(&servers, &SIZES))?;
    let mut weight = 1;
    Rounds::new(SIZES.map(|size| format!("{size} endpoints")), rounds)?.run(|subject| {
        let mut times = Vec::new();
        for _ in 0..UPDATES {
            weight += 1;
            let subject = &subjects[subject];
            let update = subject.update(weight, 0);
            thread::sleep(PAUSE);
            let started = Instant::now();
            subject.resolver.update(update);
            runtime.block_on(subject.until_used(weight))?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        let times = Spread::of(times)?;
        Ok(Sample::new().with(MEDIAN, times.median).with(WORST, times.most))
    })
}

/// The cases are in quiet with the fewer endpoints, then each size while one comes and goes.
pub(crate) fn flapping(rounds: usize, quick: bool) -> Result<Measured, Box<dyn Error>> {
    let (servers, runtime) = (Servers::spawn()?, runtime()?);
    let time = Duration::from_millis(if quick { 50 } else { 300 });
    let subjects = runtime.block_on(subjects(&servers, &SIZES))?;
    let names = ["quiet".to_owned()].into_iter().chain(SIZES.map(|size| format!("flapping among {size}")));
    Rounds::new(names, rounds)?.run(|case| {
        let subject = &subjects[case.saturating_sub(1)];
        let over = AtomicBool::new(case == 0);
        thread::scope(|scope| {
            let flapper = scope.spawn(|| flap(subject, &over));
            let sample = runtime.block_on(calls(&subject.channel, time));
            over.store(true, Ordering::Relaxed);
            flapper.join().expect("it does not panic");
            sample
        })
    })
}

/// Tells the channel of one endpoint that comes and goes, until it is over.
fn flap(subject: &Subject, over: &AtomicBool) {
    let (whole, without, mut next) = (subject.update(1, 0), subject.update(1, 1), Instant::now());
    for turn in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        subject.resolver.update(if turn % 2 == 0 { without.clone() } else { whole.clone() });
        next += FLAP;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

async fn calls(channel: &LbChannel, time: Duration) -> Result<Sample, Box<dyn Error>> {
    let (cpu, started) = (cpu_time()?, Instant::now());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(4096);
                while started.elapsed() < time {
                    let begun = Instant::now();
                    client.unary(EchoRequest { payload: vec![7; 100].into(), ..EchoRequest::default() }).await?;
                    latencies.push(begun.elapsed());
                }
                Ok::<_, tonic::Status>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await??);
    }
    let (elapsed, cpu, calls) = (started.elapsed(), cpu_time()? - cpu, latencies.len() as f64);
    let sample = Sample::new().with("calls/s", calls / elapsed.as_secs_f64()).with("cpu µs", cpu.as_secs_f64() * 1e6 / calls);
    Ok(Latencies::from(latencies).figures(sample))
}

async fn subjects(servers: &Servers, sizes: &[u32]) -> Result<Vec<Subject>, Box<dyn Error>> {
    let mut subjects = Vec::new();
    for size in sizes {
        subjects.push(Subject::new(&servers.addresses, *size).await?);
    }
    Ok(subjects)
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The servers' process; ends with this value.
struct Servers {
    process: Child,
    addresses: Vec<SocketAddr>,
}

impl Servers {
    fn spawn() -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("the servers' process has no output")?;
        let mut servers = Self { process, addresses: Vec::new() };
        for line in BufReader::new(output).lines().take(SERVERS) {
            servers.addresses.push(line?.parse()?);
        }
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It ends with its input anyway; an error here means it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until the input ends.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    let server = LightServer::start(SERVERS, 1)?;
    server.addrs().iter().for_each(|address| println!("{address}"));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
