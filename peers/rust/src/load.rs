//! Orders, and how they are carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use grpc::client::stream_util::RecvStreamValidator;
use grpc::client::{CallOptions, Invoke as _, RecvStream, ResponseStreamItem, SendOptions, SendStream as _};
use grpc::core::RequestHeaders;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::channels::Channels;
use crate::message::{EchoRequest, Received, Sent};

/// As many calls at once, for this long, of this size. In streams a call is a message and its answer.
#[derive(Deserialize, Clone, Copy)]
pub(crate) struct Order {
    kind: Kind,
    concurrency: usize,
    millis: u64,
    payload: usize,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Unary,
    Stream,
}

#[derive(Serialize)]
pub(crate) struct Summary {
    calls: usize,
    failed: usize,
    seconds: f64,
    cpu_seconds: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

/// What one of those who call has seen.
#[derive(Default)]
struct Tally {
    took: Vec<Duration>,
    failed: usize,
    first: Option<String>,
}

impl Tally {
    fn note(&mut self, start: Instant, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.took.push(start.elapsed()),
            Err(error) => {
                self.failed += 1;
                self.first.get_or_insert(error);
            }
        }
    }
}

impl Order {
    pub(crate) async fn run(self, channels: &Arc<Channels>) -> Result<Summary, Failure> {
        if self.concurrency == 0 || self.millis == 0 {
            return Err("an order of nothing".into());
        }
        let payload = Bytes::from(vec![0; self.payload]);
        let (cpu, start) = (cpu_time()?, Instant::now());
        let end = start + Duration::from_millis(self.millis);
        let callers: Vec<_> = (0..self.concurrency)
            .map(|_| {
                let (channels, payload) = (Arc::clone(channels), payload.clone());
                tokio::spawn(async move {
                    match self.kind {
                        Kind::Unary => unary(&channels, &payload, end).await,
                        Kind::Stream => stream(&channels, &payload, end).await,
                    }
                })
            })
            .collect();
        let mut tallies = Vec::with_capacity(callers.len());
        for caller in callers {
            tallies.push(caller.await?);
        }
        Ok(summary(tallies, start.elapsed(), cpu_time()? - cpu))
    }
}

/// As the crate's generated code makes a unary call.
async fn unary(channels: &Channels, payload: &Bytes, end: Instant) -> Tally {
    let mut seen = Tally::default();
    loop {
        let start = Instant::now();
        if start >= end {
            return seen;
        }
        let headers = RequestHeaders::new().with_method_name("/evenkeel.echo.v1.Echo/Unary");
        let (mut requests, replies) = channels.next().invoke(headers, CallOptions::new()).await;
        let mut replies = RecvStreamValidator::new(replies, true);
        let _ = requests.send(&Sent(EchoRequest { payload: payload.clone() }), SendOptions::new().with_final_msg(true)).await;
        seen.note(start, ended(&mut replies).await);
    }
}

/// A stream that breaks is a failed call, and replaced.
async fn stream(channels: &Channels, payload: &Bytes, end: Instant) -> Tally {
    let mut seen = Tally::default();
    while Instant::now() < end {
        if let Err(error) = converse(channels, payload, end, &mut seen).await {
            seen.note(end, Err(error));
        }
    }
    seen
}

async fn converse(channels: &Channels, payload: &Bytes, end: Instant, seen: &mut Tally) -> Result<(), String> {
    let headers = RequestHeaders::new().with_method_name("/evenkeel.echo.v1.Echo/Bidi");
    let (mut requests, replies) = channels.next().invoke(headers, CallOptions::new()).await;
    let mut replies = RecvStreamValidator::new(replies, false);
    loop {
        let start = Instant::now();
        if start >= end {
            drop(requests);
            return ended(&mut replies).await;
        }
        // It fails only when the stream has ended; receiving says why.
        let _ = requests.send(&Sent(EchoRequest { payload: payload.clone() }), SendOptions::new()).await;
        answered(&mut replies).await?;
        seen.note(start, Ok(()));
    }
}

/// Reads until a message has come.
async fn answered(replies: &mut impl RecvStream) -> Result<(), String> {
    let mut reply = Received::default();
    loop {
        match replies.recv(&mut reply).await {
            ResponseStreamItem::Headers(_) => {}
            ResponseStreamItem::Message => return Ok(()),
            end => return Err(format!("the stream ended: {end:?}")),
        }
    }
}

/// Reads until the call is over.
async fn ended(replies: &mut impl RecvStream) -> Result<(), String> {
    let mut reply = Received::default();
    loop {
        match replies.recv(&mut reply).await {
            ResponseStreamItem::Trailers(trailers) => return trailers.into_status().map_err(|error| format!("{error:?}")),
            ResponseStreamItem::StreamClosed => return Err("a stream without trailers".into()),
            _ => {}
        }
    }
}

fn summary(tallies: Vec<Tally>, took: Duration, cpu_seconds: f64) -> Summary {
    let failed = tallies.iter().map(|tally| tally.failed).sum();
    if let Some(first) = tallies.iter().find_map(|tally| tally.first.as_ref()) {
        eprintln!("peer: the first call to fail: {first}");
    }
    let mut all: Vec<Duration> = tallies.into_iter().flat_map(|tally| tally.took).collect();
    all.sort_unstable();
    let at = |share: f64| {
        let rank = (share * all.len() as f64).ceil() as usize;
        all.get(rank.max(1) - 1).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    let [p50_us, p90_us, p99_us, p999_us, max_us] = [0.5, 0.9, 0.99, 0.999, 1.0].map(at);
    Summary { calls: all.len(), failed, seconds: took.as_secs_f64(), cpu_seconds, p50_us, p90_us, p99_us, p999_us, max_us }
}

/// What the threads of the process have used so far, in seconds, by the scheduler's statistics: the standard library asks for nothing else.
fn cpu_time() -> Result<f64, Failure> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // One that has ended meanwhile has no more to say.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().filter(|field| !field.is_empty()).unwrap_or("0").parse::<u64>()?;
    }
    Ok(nanos as f64 / 1e9)
}
