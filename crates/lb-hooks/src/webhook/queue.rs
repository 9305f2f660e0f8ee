//! Events that wait, and what became of those that did.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lb_core::LbEvent;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Overflow, WebhookStats};

/// An event, when and where.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) time: SystemTime,
    pub(super) channel: Arc<str>,
    pub(super) event: LbEvent,
}

/// The events of a message.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// How many were lost since the last message that was taken.
    pub(super) lost: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    GivenUp,
    Refused,
}

/// Bounded. Never held locked over anything that waits.
pub(super) struct Queue {
    state: Mutex<State>,
    capacity: usize,
    overflow: Overflow,
    batch: usize,
    /// Something came, or is wanted sooner.
    came: Notify,
    /// Nothing waits any more.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    on_the_way: usize,
    lost: u64,
    /// Whether somebody waits for it to be empty.
    hurried: bool,
    stats: WebhookStats,
}

impl Queue {
    pub(super) fn new(capacity: usize, overflow: Overflow, batch: usize) -> Self {
        Self { state: Mutex::default(), capacity, overflow, batch, came: Notify::new(), emptied: Notify::new() }
    }

    pub(super) fn put(&self, entry: Entry) {
        let mut state = self.lock();
        if state.waiting.len() >= self.capacity {
            state.lost += 1;
            state.stats.dropped += 1;
            if self.overflow == Overflow::DropNewest {
                return;
            }
            state.waiting.pop_front();
        }
        state.waiting.push_back(entry);
        drop(state);
        self.came.notify_one();
    }

    /// The next message's events: waits for the first, and then so long for a full batch. To be called by one task.
    pub(super) async fn take(&self, linger: Duration) -> Batch {
        self.until(|state| !state.waiting.is_empty()).await;
        // A batch that is not full in time is sent as it is.
        let _ = timeout(linger, self.until(|state| state.hurried || state.waiting.len() >= self.batch)).await;
        let mut state = self.lock();
        let count = state.waiting.len().min(self.batch);
        state.on_the_way = count;
        Batch { entries: state.waiting.drain(..count).collect(), lost: state.lost }
    }

    pub(super) fn failed(&self, error: String) {
        let mut state = self.lock();
        state.stats.failures += 1;
        state.stats.failing = Some(error);
    }

    pub(super) fn settle(&self, batch: &Batch, fate: Fate) {
        let count = batch.entries.len() as u64;
        let mut state = self.lock();
        state.on_the_way = 0;
        match fate {
            Fate::Delivered => {
                state.stats.delivered += count;
                state.stats.failing = None;
                state.lost -= batch.lost;
            }
            Fate::GivenUp => state.stats.given_up += count,
            Fate::Refused => state.stats.refused += count,
        }
        if fate != Fate::Delivered {
            state.lost += count;
        }
        if state.waiting.is_empty() {
            state.hurried = false;
            self.emptied.notify_waiters();
        }
    }

    /// Until nothing waits and nothing is on its way.
    pub(super) async fn flushed(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let mut state = self.lock();
                if state.waiting.is_empty() && state.on_the_way == 0 {
                    return;
                }
                state.hurried = true;
            }
            self.came.notify_one();
            emptied.await;
        }
    }

    pub(super) fn stats(&self) -> WebhookStats {
        let state = self.lock();
        WebhookStats { waiting: state.waiting.len() + state.on_the_way, ..state.stats.clone() }
    }

    async fn until(&self, true_of: impl Fn(&State) -> bool) {
        // A permit that was left behind only makes it look once more.
        while !true_of(&self.lock()) {
            self.came.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(lost: u64) -> Entry {
        Entry { time: SystemTime::UNIX_EPOCH, channel: "c".into(), event: LbEvent::Lagged(lost) }
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        let number = |entry: &Entry| if let LbEvent::Lagged(number) = entry.event { number } else { u64::MAX };
        batch.entries.iter().map(number).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_what_it_is_told_to_and_tells_how_many() {
        for (overflow, left) in [(Overflow::DropOldest, [2, 3, 4]), (Overflow::DropNewest, [0, 1, 2])] {
            let queue = Queue::new(3, overflow, 10);
            (0..5).for_each(|number| queue.put(entry(number)));
            let batch = queue.take(Duration::ZERO).await;
            assert_eq!((numbers(&batch), batch.lost), (left.to_vec(), 2), "{overflow:?}");
            queue.put(entry(5));
            queue.settle(&batch, Fate::GivenUp);
            let batch = queue.take(Duration::ZERO).await;
            assert_eq!((numbers(&batch), batch.lost), (vec![5], 5));
            queue.settle(&batch, Fate::Delivered);
            queue.put(entry(6));
            assert_eq!(queue.take(Duration::ZERO).await.lost, 0);
            let stats = queue.stats();
            assert_eq!((stats.waiting, stats.delivered, stats.dropped, stats.given_up), (1, 1, 2, 3));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_others_and_no_longer_than_it_may() {
        let queue = Arc::new(Queue::new(10, Overflow::DropOldest, 2));
        let began = tokio::time::Instant::now();
        queue.put(entry(0));
        assert_eq!(numbers(&queue.take(Duration::from_secs(1)).await), [0]);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        (1..4).for_each(|number| queue.put(entry(number)));
        assert_eq!(numbers(&queue.take(Duration::from_secs(1)).await), [1, 2]);
        assert_eq!(began.elapsed(), Duration::from_secs(1), "a full one goes at once");
        let flushing = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.flushed().await }
        });
        tokio::task::yield_now().await;
        let batch = queue.take(Duration::from_secs(1)).await;
        assert_eq!((numbers(&batch), began.elapsed()), (vec![3], Duration::from_secs(1)), "so does one somebody waits for");
        queue.settle(&batch, Fate::Delivered);
        flushing.await.expect("it ends when nothing waits");
    }
}
