//! What a selection of pingora costs. For each line on standard input, `{"kind":K,"endpoints":N,"threads":N,"micros":N}`, one on standard output,
//! `{"picks":N,"ns":F}`: the time of a pick, per thread. K is `round_robin`, `weighted_round_robin`, `random` or `ketama`. End of input: it
//! ends. Anything else, and any argument, is an error: a line on standard error, and 1.
//!
//! A pick is `LoadBalancer::select`, as a proxy calls it. Measured as evenkeel's benchmark measures its own: balancers are built before, picks that are not
//! counted come first, and keys are 64 in turn.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random, RoundRobin};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use serde::{Deserialize, Serialize};

/// How far a search may go; every backend is healthy, so it goes nowhere.
const STEPS: usize = 8;

#[derive(Deserialize)]
struct Order {
    kind: String,
    endpoints: u32,
    threads: u32,
    micros: u64,
}

#[derive(Serialize)]
struct Answer {
    picks: u64,
    ns: f64,
}

trait Picks: Send + Sync {
    fn run(&self, keys: &[String], picks: u64) -> Duration;
}

impl<S> Picks for LoadBalancer<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
    Self: Send + Sync,
{
    fn run(&self, keys: &[String], picks: u64) -> Duration {
        let started = Instant::now();
        for pick in 0..picks {
            let key = keys[pick as usize % keys.len()].as_bytes();
            black_box(self.select(key, STEPS).expect("every backend is healthy"));
        }
        started.elapsed()
    }
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    if std::env::args().len() > 1 {
        return Err("it takes no arguments, but orders on standard input".into());
    }
    let keys: Vec<String> = (0..64).map(|key| format!("customer-{key}")).collect();
    let mut built: HashMap<(String, u32), Arc<dyn Picks>> = HashMap::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let place = (order.kind.clone(), order.endpoints);
        let picks = match built.get(&place) {
            Some(picks) => Arc::clone(picks),
            None => {
                let picks = build(&order.kind, order.endpoints)?;
                built.insert(place, Arc::clone(&picks));
                picks
            }
        };
        let answer = measure(&picks, &keys, &order);
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

fn measure(picks: &Arc<dyn Picks>, keys: &[String], order: &Order) -> Answer {
    let warm = u64::from(order.endpoints * 2).max(1_024);
    let each = (picks.run(keys, warm).as_nanos() as f64 / warm as f64).max(0.1);
    let count = (order.micros as f64 * 1e3 / each) as u64 + 1;
    let barrier = Barrier::new(order.threads.max(1) as usize);
    let run = || {
        barrier.wait();
        picks.run(keys, count)
    };
    let total: Duration = if order.threads <= 1 {
        picks.run(keys, count)
    } else {
        thread::scope(|scope| {
            let running: Vec<_> = (0..order.threads).map(|_| scope.spawn(run)).collect();
            running.into_iter().map(|thread| thread.join().expect("a pick does not panic")).sum()
        })
    };
    Answer { picks: count, ns: total.as_nanos() as f64 / f64::from(order.threads.max(1)) / count as f64 }
}

fn build(kind: &str, endpoints: u32) -> Result<Arc<dyn Picks>, Box<dyn Error>> {
    let equal = |_: u32| 1;
    Ok(match kind {
        "round_robin" => Arc::new(balancer::<RoundRobin>(endpoints, equal)?),
        // As evenkeel's benchmark has them.
        "weighted_round_robin" => Arc::new(balancer::<RoundRobin>(endpoints, |index| 1 + index as usize % 10)?),
        "random" => Arc::new(balancer::<Random>(endpoints, equal)?),
        "ketama" => Arc::new(balancer::<Consistent>(endpoints, equal)?),
        _ => return Err(format!("kind {kind}, allowed are round_robin, weighted_round_robin, random and ketama").into()),
    })
}

fn balancer<S>(endpoints: u32, weight: impl Fn(u32) -> usize) -> Result<LoadBalancer<S>, Box<dyn Error>>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let backend = |index: u32| {
        let address = format!("10.{}.{}.{}:50051", index >> 16, (index >> 8) & 255, index & 255);
        Backend::new_with_weight(&address, weight(index))
    };
    let backends: BTreeSet<Backend> = (0..endpoints).map(backend).collect::<Result<_, _>>()?;
    let balancer = LoadBalancer::from_backends(Backends::new(Static::new(backends)));
    balancer.update().now_or_never().ok_or("a fixed list is there at once")??;
    Ok(balancer)
}
