//! Ids of traces and spans that no two processes have in common.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU64, NonZeroU128};

/// A keyed hash of a counter: as good as random to who does not know the key, which the system has drawn for this thread.
struct Source {
    key: RandomState,
    drawn: u64,
}

thread_local! {
    static SOURCE: RefCell<Source> = RefCell::new(Source { key: RandomState::new(), drawn: 0 });
}

/// 64 bits that nobody can foresee.
pub(super) fn number() -> u64 {
    SOURCE.with_borrow_mut(|source| {
        source.drawn = source.drawn.wrapping_add(1);
        source.key.hash_one(source.drawn)
    })
}

/// The id of a new span.
pub(super) fn span() -> NonZeroU64 {
    loop {
        if let Some(id) = NonZeroU64::new(number()) {
            return id;
        }
    }
}

/// The id of a new trace, with this lower half.
pub(super) fn trace(low: NonZeroU64) -> NonZeroU128 {
    // Neither half is zero, so that systems that keep only one of them have one to keep.
    NonZeroU128::from(low) | u128::from(span().get()) << 64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn threads_draw_different_ids() {
        let draw = || (0..1_000).map(|_| super::trace(super::span())).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 4_000);
    }
}
