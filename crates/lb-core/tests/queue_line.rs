//! Every order in which the ends of attempts, calls that come and calls that go can meet at a queue, tried by a model checker.
//!
//! What is tried is the channel's own file, with the model checker's atomics and locks. It stands here because it is the turns of this
//! crate's queue that must survive it, and because the channel's tests would build all their dependencies anew for the model checker.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper fails the test")]

/// The model checker's own, in place of the standard library's.
mod sync {
    pub(super) use std::sync::PoisonError;
    pub(super) use std::time::Instant;

    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering, fence};
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

#[expect(dead_code, reason = "what is not modelled")]
#[path = "../../lb-tonic/src/queue/line.rs"]
mod line;

use std::time::Instant;

use lb_core::queue::{Left, Passed, Queue, QueueConfig, Ticket, Waiter};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use line::Line;

/// A call, and whether it was woken.
#[derive(Clone)]
struct Bell(Arc<AtomicBool>);

impl Waiter for Bell {
    type Place = ();

    fn fits(&self, _place: &()) -> bool {
        true
    }

    fn takes_any(&self) -> bool {
        true
    }
}

/// One endpoint with one place, and its queue.
struct Site {
    line: Line<Bell>,
    taken: AtomicUsize,
    now: Instant,
}

/// A call that has looked and found nothing.
struct Caller {
    ticket: Ticket,
    bell: Bell,
}

impl Site {
    /// The place is taken.
    fn new() -> Arc<Self> {
        let line = Line::new(Queue::new(QueueConfig::new(8)));
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other constructor; the value does not matter")]
        let now = Instant::now();
        Arc::new(Self { line, taken: AtomicUsize::new(1), now })
    }

    fn take(&self) -> bool {
        self.taken.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The attempt that has the place ends.
    fn end(&self) {
        ring(self.line.free(|| (), || self.taken.store(0, Ordering::Relaxed)));
    }

    /// A call comes: `None` if it got the place.
    fn come(&self) -> Option<Caller> {
        if !self.line.must_join() && self.take() {
            return None;
        }
        let bell = Bell(Arc::new(AtomicBool::new(false)));
        let joined = self.line.join(self.now, 0, bell.clone()).expect("there is room");
        let caller = Caller { ticket: joined.ticket, bell };
        if joined.look { self.look(caller) } else { Some(caller) }
    }

    fn look(&self, caller: Caller) -> Option<Caller> {
        loop {
            if self.take() {
                ring(self.line.serve(caller.ticket, self.now, &()));
                return None;
            }
            match self.line.pass(caller.ticket) {
                Passed::LookAgain => {}
                Passed::Wait(next) => {
                    ring(next);
                    return Some(caller);
                }
            }
        }
    }

    /// Everybody who was woken looks, until nobody is awake. What is left waits.
    fn settle(&self, mut callers: Vec<Caller>) -> Vec<Caller> {
        while let Some(at) = callers.iter().position(|caller| caller.bell.0.swap(false, Ordering::AcqRel)) {
            let caller = callers.swap_remove(at);
            callers.extend(self.look(caller));
        }
        callers
    }
}

/// Every order with at most two changes of thread where none is needed: all of them together take hours with three threads.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut orders = loom::model::Builder::new();
    orders.preemption_bound = Some(2);
    orders.check(model);
}

fn ring(bell: Option<Bell>) {
    if let Some(Bell(rung)) = bell {
        rung.store(true, Ordering::Release);
    }
}

#[test]
fn a_call_that_comes_as_the_place_becomes_free_does_not_wait_for_ever() {
    check(|| {
        let site = Site::new();
        let other = Arc::clone(&site);
        let ends = thread::spawn(move || other.end());
        let caller = site.come();
        ends.join().unwrap();
        assert!(site.settle(caller.into_iter().collect()).is_empty());
        assert!(site.line.waiting() == 0 && !site.line.must_join());
    });
}

#[test]
fn of_two_that_come_one_gets_the_place_and_one_waits_for_the_next() {
    check(|| {
        let site = Site::new();
        let (other, third) = (Arc::clone(&site), Arc::clone(&site));
        let ends = thread::spawn(move || other.end());
        let comes = thread::spawn(move || third.come());
        let mut callers: Vec<Caller> = site.come().into_iter().collect();
        ends.join().unwrap();
        callers.extend(comes.join().unwrap());
        let callers = site.settle(callers);
        assert_eq!((callers.len(), site.taken.load(Ordering::Relaxed), site.line.waiting()), (1, 1, 1));
        site.end();
        assert!(site.settle(callers).is_empty());
        assert!(site.line.waiting() == 0 && !site.line.must_join());
    });
}

#[test]
fn a_turn_does_not_go_with_the_call_that_is_cancelled() {
    check(|| {
        let site = Site::new();
        let (first, second) = (site.come().unwrap(), site.come().unwrap());
        let (other, third) = (Arc::clone(&site), Arc::clone(&site));
        let ends = thread::spawn(move || other.end());
        let goes = thread::spawn(move || ring(third.line.leave(first.ticket, third.now, Left::GaveUp)));
        ends.join().unwrap();
        goes.join().unwrap();
        assert!(site.settle(vec![second]).is_empty(), "the place is the second's");
        assert!(site.line.waiting() == 0 && !site.line.must_join());
    });
}

#[test]
fn who_waits_is_not_passed_by_for_ever_by_one_who_comes() {
    check(|| {
        let site = Site::new();
        let first = site.come().unwrap();
        let other = Arc::clone(&site);
        let comes = thread::spawn(move || other.come());
        site.end();
        let mut callers = vec![first];
        callers.extend(comes.join().unwrap());
        let callers = site.settle(callers);
        assert_eq!((callers.len(), site.taken.load(Ordering::Relaxed)), (1, 1));
        site.end();
        assert!(site.settle(callers).is_empty());
        assert!(site.line.waiting() == 0 && !site.line.must_join());
    });
}
