//! What the clones of a channel, its calls and its driver share.

mod signals;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use lb_core::gate::GateSignal;
use lb_core::machine::{Command, NamedPolicy};
use lb_core::retry::{Throttle, Throttling};
use lb_core::{History, LbEvent, Performance, PolicyRegistry, Scratch, Snapshot};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::breakers::ChannelBreakers;
use crate::call::Observers;
use crate::endpoints::EndpointInfo;
use crate::error::CallError;
use crate::inbox::Inbox;
use crate::inspect::Birth;
use crate::limits::ChannelLimits;
use crate::pick_failures::PickFailures;
use crate::queue::CallQueue;
use crate::repeats::Repeats;
use crate::request_limit::RequestLimit;
use crate::resolver_status::Resolution;
use crate::selection::Selection;
use crate::sessions::ChannelSessions;
use crate::snapshot::ChannelSnapshot;
use crate::stats::ScalingStatus;

use signals::Signals;

/// How many events a subscriber may be behind before it loses the oldest.
const EVENT_BACKLOG: usize = 1024;

/// Shared by everybody. Outlives the clones only as long as the driver needs to wind up.
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<ChannelSnapshot>,
    generation: watch::Sender<u64>,
    pub(crate) inbox: Inbox,
    pub(crate) resolution: Resolution,
    /// `None` unless the channel was built with circuit breakers.
    pub(crate) breakers: Option<Arc<ChannelBreakers>>,
    pub(crate) limits: ChannelLimits,
    /// What its calls may repeat together.
    pub(crate) throttle: Throttle,
    /// How that was set by the program, for configs that do not say.
    throttling: Option<Throttling>,
    /// What its calls' picks amount to.
    pub(crate) selection: Selection,
    waiting: AtomicUsize,
    sought: AtomicU64,
    pub(crate) events: broadcast::Sender<LbEvent>,
    queue: Option<Arc<CallQueue>>,
    history: Mutex<History>,
    pub(crate) pick_failures: PickFailures,
    /// What the scaling signal said last; `None` without one, and before its first look.
    pub(crate) scaling: Mutex<Option<ScalingStatus>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("snapshot", &*self.snapshot.load()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        snapshot: ChannelSnapshot,
        breakers: Option<Arc<ChannelBreakers>>,
        limits: ChannelLimits,
        throttling: Option<Throttling>,
        queue: Option<Arc<CallQueue>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            throttle: Throttle::new(snapshot.rules.throttling().or(throttling)),
            throttling,
            generation: watch::Sender::new(snapshot.core.generation),
            snapshot: ArcSwap::from_pointee(snapshot),
            inbox: Inbox::default(),
            resolution: Resolution::default(),
            breakers,
            limits,
            selection: Selection::default(),
            waiting: AtomicUsize::new(0),
            sought: AtomicU64::new(0),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            queue,
            history: Mutex::new(History::new(Instant::now().into_std())),
            pick_failures: PickFailures::default(),
            scaling: Mutex::default(),
        })
    }

    /// Writes down what has happened of late, for later readers.
    pub(crate) fn look_back(&self, now: Instant) {
        drop(self.looked_back(now));
    }

    /// What happened in the window that ends now.
    pub(crate) fn performance(&self, now: Instant, window: Duration) -> Performance {
        self.looked_back(now).performance(now.into_std(), window)
    }

    fn looked_back(&self, now: Instant) -> MutexGuard<'_, History> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.look(now.into_std(), self.snapshot.load().core.rows.iter().map(|row| &row.view.stats));
        history
    }

    /// Makes a snapshot the newest and wakes everybody who waits for one.
    pub(crate) fn publish(&self, snapshot: ChannelSnapshot) {
        let generation = snapshot.core.generation;
        // The same again changes nothing.
        self.throttle.configure(snapshot.rules.throttling().or(self.throttling));
        self.snapshot.store(Arc::new(snapshot));
        self.generation.send_replace(generation);
        self.look_all();
    }

    /// Where calls wait for a place, if the channel has a queue.
    #[inline]
    pub(crate) fn queue(&self) -> Option<&Arc<CallQueue>> {
        self.queue.as_ref()
    }

    /// Lets those who wait for a place look again, in their order.
    pub(crate) fn look_all(&self) {
        if let Some(queue) = &self.queue {
            queue.look_all();
        }
    }

    /// Waits until it is time for them to do so; for ever without a queue. Cancel safe.
    pub(crate) async fn queue_due(&self) {
        match &self.queue {
            Some(queue) => queue.due().await,
            None => std::future::pending().await,
        }
    }

    /// How the gates of this channel wake it.
    pub(crate) fn gate_signal(self: &Arc<Self>) -> GateSignal {
        GateSignal::new(Arc::new(Signals::new(self)))
    }

    /// Follows the generations from now on.
    pub(crate) fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Counts a call as waiting for an endpoint until the returned value is dropped.
    pub(crate) fn waiting(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sought.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(self))
    }

    /// Calls that wait for an endpoint now, and how many ever did.
    pub(crate) fn seeks(&self) -> (usize, u64) {
        (self.waiting.load(Ordering::Relaxed), self.sought.load(Ordering::Relaxed))
    }
}

/// A call that waits for an endpoint.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What calls need to know of the channel's configuration.
#[derive(Debug)]
pub(crate) struct CallConfig {
    pub(crate) target: Arc<str>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) wait_for_ready: bool,
    pub(crate) max_request: Option<usize>,
    pub(crate) max_response: Option<usize>,
    pub(crate) repeats: Repeats,
    /// `None` if nobody observes calls.
    pub(crate) observers: Option<Arc<Observers>>,
}

/// Keeps the channel alive: held by its clones and by calls in progress, and nobody else. The driver ends with the last one.
#[derive(Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    config: CallConfig,
    registry: PolicyRegistry,
    sessions: Option<ChannelSessions>,
    birth: Birth,
    further: Mutex<BTreeSet<Arc<str>>>,
    seed: u64,
    clones: AtomicU64,
}

impl Handle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: CallConfig,
        registry: PolicyRegistry,
        sessions: Option<ChannelSessions>,
        seed: u64,
    ) -> Arc<Self> {
        let (birth, further, clones) = (Birth::now(), Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { shared, config, registry, sessions, birth, further, seed, clones })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What is there for those who look closely.
    #[inline]
    pub(crate) fn birth(&self) -> &Birth {
        &self.birth
    }

    pub(crate) fn config(&self) -> &CallConfig {
        &self.config
    }

    /// How calls of a session are kept together, if they are.
    #[inline]
    pub(crate) fn sessions(&self) -> Option<&ChannelSessions> {
        self.sessions.as_ref()
    }

    /// Every endpoint of this generation as it is now.
    pub(crate) fn endpoints(&self, snapshot: &Snapshot, now: Instant) -> Vec<EndpointInfo> {
        snapshot.rows.iter().map(|row| EndpointInfo::new(row, now, self.shared.breakers.as_ref())).collect()
    }

    /// Where calls wait for a place, if anywhere.
    #[inline]
    pub(crate) fn queue(&self) -> Option<&Arc<CallQueue>> {
        self.shared.queue()
    }

    /// The channel's limit of attempts, if it has one.
    #[inline]
    pub(crate) fn max_requests(&self) -> Option<&RequestLimit> {
        self.shared.limits.requests()
    }

    pub(crate) fn registry(&self) -> &PolicyRegistry {
        &self.registry
    }

    /// Scratch that differs from every other clone's.
    pub(crate) fn scratch(&self) -> Scratch {
        let clone = self.clones.fetch_add(1, Ordering::Relaxed);
        // An odd multiplier keeps the seeds apart; the generator mixes them.
        Scratch::new(self.seed.wrapping_add(clone.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The number of the next clone.
    pub(crate) fn clones(&self) -> u64 {
        self.clones.load(Ordering::Relaxed)
    }

    /// Adds a registered policy that a call asks for and the channel does not have yet.
    pub(crate) fn add_policy(&self, name: &Arc<str>, snapshot: &ChannelSnapshot) -> Result<(), CallError> {
        if !self.further.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(name)) {
            return Ok(());
        }
        match self.registry.build(name, &json!({})) {
            Ok(policy) => self.shared.inbox.command(Command::AddPolicy(NamedPolicy::new(Arc::clone(name), policy))),
            Err(_) => {
                self.further.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                let available: Vec<&str> =
                    snapshot.core.pickers.iter().map(|picker| &*picker.name).chain(self.registry.names()).collect();
                return Err(CallError::UnknownPolicy { asked: Arc::clone(name), available: available.join(", ") });
            }
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}
