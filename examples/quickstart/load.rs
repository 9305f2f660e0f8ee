//! Callers that never stop, and what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evenkeel::{EndpointKey, LbChannel, PickedEndpoint};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinSet;
use tonic::Status;

/// So many callers, each with one call in flight at any time.
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Held for reading during a call, for writing while calls pause.
    gate: RwLock<()>,
    recorded: Mutex<Recorded>,
}

/// The calls that ended during some time.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// How long each successful call took, by the endpoint that answered.
    pub(crate) latencies: BTreeMap<EndpointKey, Vec<Duration>>,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<Status>,
}

impl Recorded {
    /// Calls that ended, well or not.
    pub(crate) fn calls(&self) -> u64 {
        self.latencies.values().map(|latencies| latencies.len() as u64).sum::<u64>() + self.failed
    }

    fn fail(&mut self, status: Status) {
        self.failed += 1;
        self.first_failure.get_or_insert(status);
    }
}

impl Load {
    pub(crate) fn start(channel: &LbChannel, callers: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let caller = |_| call_on_and_on(EchoClient::new(channel.clone()), Arc::clone(&shared));
        Self { callers: (0..callers).map(caller).collect(), shared }
    }

    /// Ends all calls and keeps new ones from beginning, until the guard is dropped.
    pub(crate) async fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.gate.write().await
    }

    /// What ended since this was last asked.
    pub(crate) fn take(&self) -> Recorded {
        self.shared.record(std::mem::take)
    }

    /// Calls ended and failed since [`take`](Self::take).
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.shared.record(|recorded| (recorded.calls(), recorded.failed))
    }

    /// Ends all calls for good.
    pub(crate) async fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
    }
}

impl Shared {
    fn record<T>(&self, change: impl FnOnce(&mut Recorded) -> T) -> T {
        change(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn call_on_and_on(mut client: EchoClient<LbChannel>, shared: Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let _call = shared.gate.read().await;
        let began = Instant::now();
        let answer = client.unary(EchoRequest { payload: vec![0; 100].into(), ..Default::default() }).await;
        let took = began.elapsed();
        shared.record(|recorded| match answer.map(|reply| reply.extensions().get::<PickedEndpoint>().cloned()) {
            Ok(Some(picked)) => recorded.latencies.entry(picked.endpoint().key().clone()).or_default().push(took),
            Ok(None) => recorded.fail(Status::internal("a response does not say where it came from")),
            Err(status) => recorded.fail(status),
        });
    }
}
