//! One client for a while, or for a number of calls.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lb_bench::peer::CallKind;
use lb_bench::{Latencies, Sample, cpu_time, cpu_time_of};
use lb_testkit::metered::{Allocated, meter};
use tokio::sync::Barrier;
use tonic::Status;

use super::cell::Cell;
use super::client::{Client, Conversation};

/// Names of figures, in tables and files.
pub(crate) const CPU: &str = "CPU µs";
pub(crate) const RATE: &str = "calls/s";
pub(crate) const P50: &str = "p50 µs";
pub(crate) const P99: &str = "p99 µs";

/// Room for latencies, so that it does not have to grow while calls are timed.
const LATENCIES: usize = 4096;

/// Calls before allocations are counted, per task: until every buffer has its size.
const WARM_UP: usize = 20;

/// Calls that allocations are counted over, of small messages and of large ones.
const COUNTED: [usize; 2] = [2_000, 200];

type Failure = Box<dyn Error>;

/// One of the callers that are there at once.
enum Caller {
    Unary(Client),
    Stream(Conversation),
}

impl Caller {
    async fn new(client: &Client, call: CallKind) -> Result<Self, Status> {
        let mut client = client.clone();
        Ok(match call {
            CallKind::Unary => Self::Unary(client),
            CallKind::Stream => Self::Stream(client.converse().await?),
        })
    }

    async fn call(&mut self, payload: &Bytes) -> Result<(), Status> {
        match self {
            Self::Unary(client) => client.call(payload).await,
            Self::Stream(conversation) => conversation.turn(payload).await,
        }
    }

    async fn end(self) -> Result<(), Status> {
        match self {
            Self::Unary(_) => Ok(()),
            Self::Stream(conversation) => conversation.end().await,
        }
    }
}

fn payload(cell: &Cell) -> Bytes {
    Bytes::from(vec![7; cell.payload])
}

/// As many callers as the cell has, each calling again and again until the time is over. `hop` is a process whose CPU counts too.
pub(crate) async fn measure(client: &Client, cell: &Cell, time: Duration, hop: Option<u32>) -> Result<Sample, Failure> {
    // Still on if counting was given up.
    meter(false);
    let payload = payload(cell);
    let mut callers = Vec::new();
    for _ in 0..cell.concurrency {
        callers.push(Caller::new(client, cell.call).await?);
    }
    let cpu = || Ok::<_, Failure>(cpu_time()? + hop.map(cpu_time_of).transpose()?.unwrap_or_default());
    let (before, started) = (cpu()?, Instant::now());
    let tasks: Vec<_> = callers.into_iter().map(|caller| tokio::spawn(call_for(caller, payload.clone(), started + time))).collect();
    let mut callers = Vec::new();
    let mut latencies = Vec::with_capacity(LATENCIES * cell.concurrency);
    for task in tasks {
        let (caller, measured) = task.await??;
        callers.push(caller);
        latencies.extend(measured);
    }
    let (elapsed, cpu) = (started.elapsed(), cpu()?.saturating_sub(before));
    for caller in callers {
        caller.end().await?;
    }
    let latencies = Latencies::from(latencies);
    let calls = latencies.len() as f64;
    let sample = Sample::new().with(CPU, cpu.as_secs_f64() * 1e6 / calls).with(RATE, calls / elapsed.as_secs_f64());
    Ok(latencies.figures(sample))
}

/// At least one call.
async fn call_for(mut caller: Caller, payload: Bytes, until: Instant) -> Result<(Caller, Vec<Duration>), Status> {
    let mut latencies = Vec::with_capacity(LATENCIES);
    loop {
        let begun = Instant::now();
        caller.call(&payload).await?;
        let ended = Instant::now();
        latencies.push(ended - begun);
        if ended >= until {
            return Ok((caller, latencies));
        }
    }
}

/// `calls` calls over as many callers as the cell has, for whoever counts instructions.
pub(crate) async fn repeat(client: &Client, cell: &Cell, calls: usize) -> Result<(), Failure> {
    count(client, cell, 0, calls.div_ceil(cell.concurrency)).await.map(drop)
}

/// What a call allocates in this process, the mean over many; outside the timed rounds, because counting has a price of its own.
pub(crate) async fn allocations(client: &Client, cell: &Cell) -> Result<[f64; 2], Failure> {
    let each = COUNTED[usize::from(cell.payload > 100_000)].div_ceil(cell.concurrency);
    let allocated = count(client, cell, WARM_UP, each).await?;
    let calls = (each * cell.concurrency) as f64;
    Ok([allocated.count as f64 / calls, allocated.bytes as f64 / calls])
}

/// So many calls per caller, counted after the first ones.
async fn count(client: &Client, cell: &Cell, first: usize, then: usize) -> Result<Allocated, Failure> {
    let payload = payload(cell);
    // All callers, and this function: it begins to count when none calls, and ends when none does.
    let gate = Arc::new(Barrier::new(cell.concurrency + 1));
    let mut tasks = Vec::new();
    for _ in 0..cell.concurrency {
        let mut caller = Caller::new(client, cell.call).await?;
        let (gate, payload) = (Arc::clone(&gate), payload.clone());
        tasks.push(tokio::spawn(async move {
            let mut result = Ok(());
            for calls in [first, then] {
                for _ in 0..calls {
                    result = result.and(caller.call(&payload).await);
                }
                gate.wait().await;
                gate.wait().await;
            }
            result.and(caller.end().await)
        }));
    }
    gate.wait().await;
    meter(true);
    let before = Allocated::now();
    gate.wait().await;
    gate.wait().await;
    let allocated = Allocated::now() - before;
    meter(false);
    gate.wait().await;
    for task in tasks {
        task.await??;
    }
    Ok(allocated)
}
