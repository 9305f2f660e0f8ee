//! Calls, and how long they took.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use lb_bench::Latencies;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::Code;

use super::arms::{Client, DEADLINE};
use lb_bench::Arrivals;

type Failure = Box<dyn Error + Send + Sync>;

/// What became of the calls of one window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Those of calls that were answered, and of those given up at the deadline, which have waited that long.
    pub(crate) latencies: Vec<Duration>,
    /// p50, p99 and p99.9 in microseconds from a program that gives no more.
    pub(crate) summary: Option<[f64; 3]>,
    pub(crate) answered: usize,
    pub(crate) failed: usize,
    /// Those of them that were given up.
    pub(crate) timed_out: usize,
    /// How much later than meant calls began: what the machine did to the load generator.
    pub(crate) late: Vec<Duration>,
    /// The window: from its begin to the last answer for callers in turn.
    pub(crate) seconds: f64,
}

/// One call: when it should have begun, how much later it did, how long it took from when it should have, and its status.
struct Ended {
    late: Duration,
    took: Duration,
    code: Code,
}

impl Outcome {
    pub(crate) fn calls(&self) -> usize {
        self.answered + self.failed
    }

    /// In milliseconds, of this window alone.
    pub(crate) fn p99(&self) -> f64 {
        let micros = |[_, p99, _]: [f64; 3]| p99;
        self.summary.map_or_else(|| Latencies::from(self.latencies.clone()).quantile(0.99), micros) / 1e3
    }

    /// How late calls began, at worst one in a hundred more.
    pub(crate) fn lateness(&self) -> f64 {
        Latencies::from(self.late.clone()).quantile(0.99)
    }

    fn add(&mut self, ended: &Ended) {
        self.late.push(ended.late);
        if ended.code != Code::Ok {
            self.failed += 1;
        }
        if gave_up(ended.code) {
            self.timed_out += 1;
            self.latencies.push(ended.took.max(DEADLINE));
        } else if ended.code == Code::Ok {
            self.answered += 1;
            self.latencies.push(ended.took);
        }
    }
}

/// tonic's channels say CANCELLED where the deadline has passed.
fn gave_up(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Cancelled)
}

/// Calls begun at these times after now, whatever becomes of those before. A call counts from when it *should* have begun: counted from when it did, a client
/// that cannot keep up would look fast.
pub(crate) async fn open(client: &Client, arrivals: Arrivals, window: Duration) -> Result<Outcome, Failure> {
    let (ends, mut ended) = unbounded_channel();
    let (runtime, client) = (Handle::current(), client.clone());
    // A thread: tokio's timer is exact to a millisecond only.
    let pacer = thread::spawn(move || pace(&runtime, &client, arrivals, window, &ends));
    let mut outcome = Outcome { seconds: window.as_secs_f64(), ..Outcome::default() };
    while let Some(end) = ended.recv().await {
        outcome.add(&end);
    }
    pacer.join().map_err(|_| "the load generator panicked")?;
    Ok(outcome)
}

fn pace(runtime: &Handle, client: &Client, arrivals: Arrivals, window: Duration, ends: &UnboundedSender<Ended>) {
    let begin = Instant::now();
    for arrival in arrivals.take_while(|arrival| *arrival < window) {
        let meant = begin + arrival;
        let wait = meant.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        let (client, ends) = (client.clone(), ends.clone());
        runtime.spawn(async move {
            let late = meant.elapsed();
            let code = client.call(&PAYLOAD).await.map_or_else(|status| status.code(), |()| Code::Ok);
            // Nobody listens any more only if the whole measurement was given up.
            let _ = ends.send(Ended { late, took: meant.elapsed(), code });
        });
    }
}

/// So many callers, each with one call after the other, until the window is over.
pub(crate) async fn closed(client: &Client, callers: usize, window: Duration) -> Result<Outcome, Failure> {
    let begin = Instant::now();
    let (ends, mut ended) = unbounded_channel();
    for _ in 0..callers {
        let (client, ends) = (client.clone(), ends.clone());
        tokio::spawn(async move {
            while begin.elapsed() < window {
                let meant = Instant::now();
                let code = client.call(&PAYLOAD).await.map_or_else(|status| status.code(), |()| Code::Ok);
                let _ = ends.send(Ended { late: Duration::ZERO, took: meant.elapsed(), code });
            }
        });
    }
    drop(ends);
    let mut outcome = Outcome::default();
    while let Some(end) = ended.recv().await {
        outcome.add(&end);
    }
    outcome.seconds = begin.elapsed().as_secs_f64();
    Ok(outcome)
}

/// 100 bytes.
static PAYLOAD: bytes::Bytes = bytes::Bytes::from_static(&[7; 100]);
