//! At most so many attempts at once, over all endpoints of a channel or of several.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lb_core::concurrency::InFlight;

use crate::shared::Shared;

/// How many attempts may be in flight at once, wherever they go: gRFC A32's circuit breaker (`max_requests`).
///
/// Every attempt counts, hedges and retries each one, and a stream until its trailers. One too many is dropped: its call fails with
/// UNAVAILABLE ([`CallError::TooManyRequests`](crate::CallError::TooManyRequests)), even if it waits for ready, and is not retried. If the
/// channel has a [queue](crate::LbChannelBuilder::queue) it waits there instead.
///
/// Clones share one count: channels to the same cluster that are given clones have one limit together.
///
/// ```no_run
/// # fn run() -> Result<(), lb_tonic::BuildError> {
/// use lb_tonic::{LbChannel, RequestLimit};
///
/// let limit = RequestLimit::new(500);
/// let orders = LbChannel::builder("dns:///orders:50051").max_requests(limit.clone()).build()?;
/// let returns = LbChannel::builder("dns:///orders:50051").max_requests(limit.clone()).build()?;
/// println!("{} of {} in flight, {} dropped", limit.in_flight(), limit.max(), limit.dropped());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RequestLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: AtomicU32,
    in_flight: InFlight,
    dropped: AtomicU64,
    /// How many channels ever shared it.
    joined: AtomicU32,
    /// Those that do, to wake their queues.
    channels: Mutex<Vec<Weak<Shared>>>,
}

/// gRFC A32's default.
const MAX_REQUESTS: u32 = 1024;

impl RequestLimit {
    /// At most `max` attempts at once; 0 blocks all.
    pub fn new(max: u32) -> Self {
        let (in_flight, dropped, joined) = (InFlight::default(), AtomicU64::new(0), AtomicU32::new(0));
        Self(Arc::new(Inner { max: AtomicU32::new(max), in_flight, dropped, joined, channels: Mutex::default() }))
    }

    /// The limit.
    pub fn max(&self) -> u32 {
        self.0.max.load(Ordering::Relaxed)
    }

    /// Another limit from now on. Lowering it ends nothing; raising it lets calls through that wait in a queue.
    pub fn set_max(&self, max: u32) {
        self.0.max.store(max, Ordering::Relaxed);
        self.wake();
    }

    /// Attempts in flight, of all channels that share it.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.count()
    }

    /// Calls dropped so far because of it; those that waited in a queue do not count.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// One attempt more, unless there are too many.
    #[inline]
    pub(crate) fn begin(&self) -> Option<RequestSlot> {
        self.0.in_flight.begin(self.max()).then(|| RequestSlot(self.clone()))
    }

    pub(crate) fn count_dropped(&self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A channel begins to share it.
    pub(crate) fn join(&self, shared: &Arc<Shared>) {
        let mut channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| channel.strong_count() > 0);
        channels.push(Arc::downgrade(shared));
        self.0.joined.fetch_add(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        let channels: Vec<Arc<Shared>> = {
            let channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
            channels.iter().filter_map(Weak::upgrade).collect()
        };
        channels.iter().filter_map(|channel| channel.queue()).for_each(|queue| queue.look_all());
    }
}

impl Default for RequestLimit {
    /// At most 1024.
    fn default() -> Self {
        Self::new(MAX_REQUESTS)
    }
}

impl From<u32> for RequestLimit {
    fn from(max: u32) -> Self {
        Self::new(max)
    }
}

/// One attempt that counts, until this is dropped.
#[derive(Debug)]
pub(crate) struct RequestSlot(RequestLimit);

impl Drop for RequestSlot {
    #[inline]
    fn drop(&mut self) {
        let limit = &self.0;
        // The attempt's own channel hears of its end anyway; only where it was the last too many for others, too, are they told.
        if limit.0.in_flight.end() >= limit.max() && limit.0.joined.load(Ordering::Relaxed) > 1 {
            limit.wake();
        }
    }
}
