//! tower's `Balance`: power of two choices over services that are always ready.
//!
//! A pick there is `poll_ready` and `call` with its completion, because only they choose and count; the service itself is done at once and
//! costs nothing. `Balance` needs `&mut`, so that threads share it behind a mutex; tonic has a queue to one task in its place, which costs more.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};

use crate::peers::{TOWER_PEAK_EWMA, TOWER_PENDING};
use crate::subject::Picks;

/// What a service has before its first call; tonic's and linkerd's defaults are of this size.
const FIRST: Duration = Duration::from_millis(30);
/// How fast what is known fades.
const DECAY: Duration = Duration::from_secs(10);

pub(crate) fn pickers(size: u32) -> [(&'static str, Arc<dyn Picks>); 2] {
    let pending = |_| PendingRequests::new(Done, CompleteOnResponse::default());
    let decay = DECAY.as_nanos() as f64;
    let ewma = |_| PeakEwma::new(Done, FIRST, decay, CompleteOnResponse::default());
    [
        (TOWER_PENDING, Arc::new(Balanced::new((0..size).map(pending).collect()))),
        (TOWER_PEAK_EWMA, Arc::new(Balanced::new((0..size).map(ewma).collect()))),
    ]
}

/// Answers at once.
#[derive(Debug)]
struct Done;

impl Service<()> for Done {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

type Services<S> = ServiceList<std::vec::IntoIter<S>>;

struct Balanced<S: Service<()>>(Mutex<Balance<Services<S>, ()>>);

impl<S> Balanced<S>
where
    S: Service<(), Error = Infallible> + Load,
    S::Metric: std::fmt::Debug,
{
    fn new(services: Vec<S>) -> Self {
        let balanced = Self(Mutex::new(Balance::new(ServiceList::new::<()>(services.into_iter()))));
        // The first takes all of them in.
        (0..3).for_each(|_| balanced.pick(&mut Context::from_waker(Waker::noop())));
        balanced
    }

    fn pick(&self, context: &mut Context<'_>) {
        let call = {
            let mut balance = self.0.lock().expect("no pick panics");
            assert!(matches!(balance.poll_ready(context), Poll::Ready(Ok(()))), "every service is ready");
            balance.call(())
        };
        assert!(matches!(call.now_or_never(), Some(Ok(_))), "every call is done at once");
    }
}

impl<S> Picks for Balanced<S>
where
    S: Service<(), Error = Infallible> + Load + Send,
    S::Metric: std::fmt::Debug,
    Balance<Services<S>, ()>: Send,
{
    fn run(&self, _: u64, picks: u64) -> Duration {
        let mut context = Context::from_waker(Waker::noop());
        let started = Instant::now();
        for _ in 0..picks {
            black_box(self).pick(&mut context);
        }
        started.elapsed()
    }
}
