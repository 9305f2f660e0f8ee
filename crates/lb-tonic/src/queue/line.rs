//! The queue of a channel, as its calls and the ends of its calls see it from many tasks at once.
//!
//! **Nothing is lost.** A call that joins is counted first and looks once more then; an attempt that ends gives its place back first and
//! looks then whether anybody is counted. With a full fence between the two steps on both sides at least one sees the other: the call
//! finds the place, or the place finds the call. An attempt that ends while nobody waits takes no lock.

use lb_core::queue::{Joined, Left, Passed, Queue, QueueFull, QueueStats, Ticket, Waiter};

use super::sync::{AtomicUsize, Instant, Mutex, MutexGuard, Ordering, PoisonError, fence};

#[derive(Debug)]
pub(super) struct Line<W: Waiter> {
    waiting: AtomicUsize,
    /// Places that are somebody's: turns on their way, and those about to be given.
    reserved: AtomicUsize,
    queue: Mutex<Queue<W>>,
}

impl<W: Waiter> Line<W> {
    pub(super) fn new(queue: Queue<W>) -> Self {
        Self { waiting: AtomicUsize::new(0), reserved: AtomicUsize::new(0), queue: Mutex::new(queue) }
    }

    /// Whether a call that has just come must join without a look: what is free is somebody's.
    #[inline]
    pub(super) fn must_join(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) > 0
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn join(&self, now: Instant, priority: u8, what: W) -> Result<Joined<W>, QueueFull> {
        let joined = self.change(0, |queue| queue.join(now, priority, what));
        fence(Ordering::SeqCst);
        joined
    }

    pub(super) fn pass(&self, ticket: Ticket) -> Passed<W> {
        self.change(0, |queue| queue.pass(ticket))
    }

    pub(super) fn serve(&self, ticket: Ticket, now: Instant, place: &W::Place) -> Option<W> {
        self.change(0, |queue| queue.serve(ticket, now, place))
    }

    pub(super) fn leave(&self, ticket: Ticket, now: Instant, how: Left) -> Option<W> {
        self.change(0, |queue| queue.leave(ticket, now, how))
    }

    /// Gives a place back. Answers whom to wake for it.
    #[inline]
    pub(super) fn free(&self, place: impl FnOnce() -> W::Place, give_back: impl FnOnce()) -> Option<W> {
        // Announced before it is free, so that nobody who comes just then takes it from those who wait.
        let announced = usize::from(self.waiting() > 0);
        if announced > 0 {
            self.reserved.fetch_add(announced, Ordering::Relaxed);
        }
        give_back();
        fence(Ordering::SeqCst);
        if announced == 0 && self.waiting() == 0 {
            return None;
        }
        self.change(announced, |queue| queue.freed(place()))
    }

    /// Everybody shall look, one after the other. Answers whom to wake first.
    pub(super) fn look_all(&self) -> Option<W> {
        fence(Ordering::SeqCst);
        if self.waiting() == 0 { None } else { self.change(0, Queue::look_all) }
    }

    /// Looks without changing anything.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Queue<W>) -> T) -> T {
        read(&self.lock())
    }

    pub(super) fn stats(&self, now: Instant) -> QueueStats {
        self.read(|queue| queue.stats(now))
    }

    /// Changes the queue, and the numbers that are read without a lock with it. `announced` places were counted as reserved before.
    fn change<T>(&self, announced: usize, change: impl FnOnce(&mut Queue<W>) -> T) -> T {
        let mut queue = self.lock();
        let before = queue.reserved();
        let result = change(&mut queue);
        self.waiting.store(queue.len(), Ordering::Relaxed);
        let (more, less) = (queue.reserved(), before + announced);
        self.reserved.fetch_add(more.wrapping_sub(less), Ordering::Relaxed);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        // No code that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
