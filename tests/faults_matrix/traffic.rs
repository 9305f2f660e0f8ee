//! The calls of a cell, and what became of each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel::{CallError, LbChannel};
use lb_testkit::pb::echo_client::EchoClient;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::kind::{Broken, Kind};
use crate::support::{call_error, soon, until};

/// Calls in progress at most: each caller makes one after the other.
pub(crate) const CALLERS: usize = 6;

/// Between two calls of a caller. Enough calls to be in the middle of some whatever happens, few enough for a machine of two cores.
const PAUSE: Duration = Duration::from_millis(4);

/// One call that has ended.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) failure: Option<Failure>,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// The endpoint whose connection was lost, if that was it.
    pub(crate) lost_at: Option<String>,
    /// Whether the server itself said so.
    pub(crate) by_server: bool,
    /// Whether the response had begun.
    pub(crate) begun: bool,
    pub(crate) message: String,
}

/// Callers that go on until they are stopped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    ids: AtomicU64,
    done: AtomicU64,
    records: Mutex<Vec<Record>>,
}

impl Traffic {
    pub(crate) fn start(channel: &LbChannel, kind: Kind) -> Self {
        let mut traffic = Self { shared: Arc::default(), callers: JoinSet::new() };
        for _ in 0..CALLERS {
            let (shared, client) = (Arc::clone(&traffic.shared), EchoClient::new(channel.clone()));
            traffic.callers.spawn(async move { shared.go_on(client, kind).await });
        }
        traffic
    }

    /// Waits until so many more calls have ended, well or not.
    pub(crate) async fn goes_on(&self, calls: u64) {
        let enough = self.shared.done.load(Ordering::Relaxed) + calls;
        until(&format!("{calls} more calls end"), || self.shared.done.load(Ordering::Relaxed) >= enough).await;
    }

    /// Lets every caller finish its call.
    pub(crate) async fn stop(mut self) -> Vec<Record> {
        self.shared.stop.store(true, Ordering::Relaxed);
        soon("every caller finishes its call", async {
            while let Some(ended) = self.callers.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        std::mem::take(&mut *self.shared.records.lock().unwrap())
    }
}

impl Shared {
    async fn go_on(&self, mut client: EchoClient<LbChannel>, kind: Kind) {
        while !self.stop.load(Ordering::Relaxed) {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let result = kind.call(&mut client, id).await;
            let record = Record { id, began, ended: Instant::now(), failure: result.err().as_ref().map(Failure::new) };
            self.records.lock().unwrap().push(record);
            self.done.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Failure {
    fn new(broken: &Broken) -> Self {
        let (status, begun): (&Status, _) = match broken {
            Broken::Unanswered(status) => (status, false),
            Broken::Begun(status) => (status, true),
        };
        let error = call_error(status);
        let lost_at = match error {
            Some(CallError::Lost { endpoint, .. }) => Some(endpoint.to_string()),
            _ => None,
        };
        Self { code: status.code(), lost_at, by_server: error.is_none(), begun, message: status.to_string() }
    }
}
