//! What a server does with a call.

use std::hint;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lb_testkit::pb::echo_server::Echo;
use lb_testkit::pb::{EchoReply, EchoRequest};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// How much slower an endpoint is that is slow.
const SLOWER: u32 = 10;

/// What one endpoint does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// A call sleeps between half and one and a half times this.
    pub(crate) mean: Duration,
    /// One call of so many, at random, sleeps `costly` in place of `mean`; 0 is none.
    pub(crate) costly_one_in: u64,
    pub(crate) costly: Duration,
    /// Calls served at once; the others wait their turn, which is what makes an endpoint with too much to do slow.
    pub(crate) slots: usize,
    /// CPU time burnt by each call.
    pub(crate) burn: Duration,
    /// Answers every call with UNAVAILABLE, at once.
    pub(crate) fails: bool,
}

impl Profile {
    pub(crate) fn taking(mean: Duration) -> Self {
        Self { mean, costly_one_in: 0, costly: Duration::ZERO, slots: 32, burn: Duration::ZERO, fails: false }
    }

    /// One word of a command line.
    pub(crate) fn to_argument(&self) -> String {
        let micros = |duration: Duration| duration.as_micros() as u64;
        let words = [micros(self.mean), self.costly_one_in, micros(self.costly), self.slots as u64, micros(self.burn)];
        json!([words, self.fails]).to_string()
    }

    pub(crate) fn from_argument(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |index: usize| value[0][index].as_u64();
        Some(Self {
            mean: Duration::from_micros(number(0)?),
            costly_one_in: number(1)?,
            costly: Duration::from_micros(number(2)?),
            slots: usize::try_from(number(3)?).ok()?,
            burn: Duration::from_micros(number(4)?),
            fails: value[1].as_bool()?,
        })
    }
}

/// The echo service of one endpoint. Only `Unary` is served.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    profile: Profile,
    slots: Semaphore,
    calls: AtomicU64,
    slow: AtomicBool,
}

impl Worker {
    pub(crate) fn new(profile: Profile) -> Self {
        let slots = Semaphore::new(profile.slots);
        Self { shared: Arc::new(Shared { profile, slots, calls: AtomicU64::new(0), slow: AtomicBool::new(false) }) }
    }

    /// Calls so far, whatever became of them.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Ten times as slow from the next call on, or as usual.
    pub(crate) fn set_slow(&self, slow: bool) {
        self.shared.slow.store(slow, Ordering::Relaxed);
    }

    /// The share of its slots that are in use.
    pub(crate) fn utilization(&self) -> f64 {
        1.0 - self.shared.slots.available_permits() as f64 / self.shared.profile.slots as f64
    }

    /// How long call number `number` takes. Drawn from its number, so that every client finds the same servers.
    fn cost(&self, number: u64) -> Duration {
        let (profile, draw) = (&self.shared.profile, mix(number));
        if profile.costly_one_in > 0 && draw.is_multiple_of(profile.costly_one_in) {
            return profile.costly;
        }
        let unit = (mix(draw) >> 11) as f64 / (1_u64 << 53) as f64;
        let usual = profile.mean.mul_f64(0.5 + unit);
        if self.shared.slow.load(Ordering::Relaxed) { usual * SLOWER } else { usual }
    }
}

/// The finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn burn(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        hint::spin_loop();
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for Worker {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let number = self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if self.shared.profile.fails {
            return Err(Status::unavailable("this one fails"));
        }
        let _slot = self.shared.slots.acquire().await.map_err(|error| Status::internal(error.to_string()))?;
        let cost = self.cost(number);
        if !cost.is_zero() {
            tokio::time::sleep(cost).await;
        }
        burn(self.shared.profile.burn);
        Ok(Response::new(EchoReply { payload: request.into_inner().payload, ..EchoReply::default() }))
    }

    type ServerStreamStream = Replies;

    async fn server_stream(&self, _: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented("only Unary"))
    }

    async fn client_stream(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<EchoReply>, Status> {
        Err(Status::unimplemented("only Unary"))
    }

    type BidiStream = Replies;

    async fn bidi(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented("only Unary"))
    }
}
