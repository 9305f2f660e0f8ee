//! What is measured, and how.

use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use lb_bench::BenchError;

use crate::pingora::Pingora;

/// Picks of one kind, one after the other.
pub(crate) trait Picks: Send + Sync {
    /// The time that this many picks took; the seed tells threads apart.
    fn run(&self, seed: u64, picks: u64) -> Duration;
}

/// Not a picker: one addition to a counter that all threads share. What two threads cost here more than one is what this machine takes to move a line of
/// memory from one core to the other, which no policy that counts can be without.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

pub(crate) const COUNTER: &str = "(one shared counter)";

impl Picks for Counter {
    fn run(&self, _: u64, picks: u64) -> Duration {
        let started = Instant::now();
        for _ in 0..picks {
            black_box(self.0.fetch_add(1, Ordering::Relaxed));
        }
        started.elapsed()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// A scratch for each thread.
    Kept,
    /// The same, for a call that half of the endpoints are allowed to.
    Half,
    /// A scratch for each pick.
    Fresh,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) picker: String,
    pub(crate) size: u32,
    pub(crate) form: Form,
    pub(crate) threads: u32,
}

pub(crate) struct Subject<'a> {
    pub(crate) key: Key,
    place: Place<'a>,
}

enum Place<'a> {
    Here(Arc<dyn Picks>),
    /// In another process, which knows the kind of picker by its name.
    Remote(&'a Pingora, &'static str),
}

impl<'a> Subject<'a> {
    pub(crate) fn local(picker: &str, size: u32, form: Form, threads: u32, picks: Arc<dyn Picks>) -> Self {
        Self { key: Key { picker: picker.to_owned(), size, form, threads }, place: Place::Here(picks) }
    }

    pub(crate) fn remote(picker: &str, size: u32, threads: u32, peer: &'a Pingora, kind: &'static str) -> Self {
        Self { key: Key { picker: picker.to_owned(), size, form: Form::Kept, threads }, place: Place::Remote(peer, kind) }
    }

    /// Nanoseconds per pick and thread, over about this time.
    pub(crate) fn measure(&self, time: Duration) -> Result<f64, BenchError> {
        match &self.place {
            Place::Here(picks) => {
                let warm = u64::from(self.key.size * 2).max(1_024);
                let each = (picks.run(0, warm).as_nanos() as f64 / warm as f64).max(0.1);
                let count = (time.as_nanos() as f64 / each) as u64 + 1;
                Ok(threaded(picks, self.key.threads, count).as_nanos() as f64 / count as f64)
            }
            Place::Remote(peer, kind) => peer.measure(kind, &self.key, time),
        }
    }
}

/// The mean time of the threads, all of which make this many picks at once.
fn threaded(picks: &Arc<dyn Picks>, threads: u32, count: u64) -> Duration {
    if threads == 1 {
        return picks.run(1, count);
    }
    let barrier = Barrier::new(threads as usize);
    let run = |seed: u32| {
        barrier.wait();
        picks.run(u64::from(seed), count)
    };
    let total: Duration = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|seed| scope.spawn(move || run(seed))).collect();
        running.into_iter().map(|thread| thread.join().expect("a pick does not panic")).sum()
    });
    total / threads
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { picker, size, form, threads } = self;
        write!(f, "{picker}, {size} endpoints, {threads} threads, {form:?}")
    }
}
