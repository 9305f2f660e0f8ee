//! Every order in which attempts can begin and end, tried by a model checker.
#![allow(clippy::unwrap_used, reason = "a thread that panicked fails the test")]

/// The model checker's own, in place of the standard library's.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[expect(unreachable_pub, reason = "reachable where it is not a model")]
#[path = "../src/concurrency/in_flight.rs"]
mod in_flight;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use in_flight::InFlight;

#[test]
fn never_more_than_the_limit_and_back_to_nothing() {
    let mut orders = loom::model::Builder::new();
    // Three threads in every order at all take minutes; what goes wrong with counters goes wrong with few changes of thread.
    orders.preemption_bound = Some(2);
    orders.check(|| {
        let count = Arc::new(InFlight::default());
        let inside = Arc::new(AtomicU32::new(0));
        let call = |count: Arc<InFlight>, inside: Arc<AtomicU32>| {
            move || {
                let begun = count.begin(2);
                if begun {
                    assert!(inside.fetch_add(1, Ordering::AcqRel) < 2, "a third is inside");
                    inside.fetch_sub(1, Ordering::AcqRel);
                    assert!(count.end() <= 2);
                }
                begun
            }
        };
        let others: Vec<_> = (0..2).map(|_| thread::spawn(call(Arc::clone(&count), Arc::clone(&inside)))).collect();
        let mut begun = u32::from(call(Arc::clone(&count), Arc::clone(&inside))());
        begun += others.into_iter().map(|other| u32::from(other.join().unwrap())).sum::<u32>();
        assert!(begun >= 2, "there was room for two");
        assert_eq!(count.count(), 0);
    });
}
