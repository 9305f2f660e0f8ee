//! Token buckets by key, as many as were agreed and no more.
//!
//! A table of a fixed size: sets of [`WAYS`] buckets, a key belongs to the set its hash names and has whichever bucket of it carries
//! its hash. No key is stored, nothing is allocated or locked after the table was made, and there is nothing to sweep: a bucket
//! that nobody uses fills up, and a full one is as good as new for another key.
//!
//! **When there are too many keys.** A newcomer takes over the bucket of its set that is nearest to full, *as it is*: it never gets
//! more than an old key had left. So a flood of invented keys gets no more through than `max_keys` honest ones could, though it
//! may crowd those out meanwhile; [`crowded`](KeyedBuckets::crowded) counts how often that happened.
//!
//! **Bound.** For each key `rate × t + burst` over any time `t` while it keeps its bucket. Two threads that bring the same new key at
//! the same moment may give it two buckets, of which the second is never looked at again: one call more, once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::bucket::Level;
use super::rate::{Pace, RateLimit};
use crate::stats::ticks;

/// Buckets in a set: two cache lines. With eight, a table twice as large as its keys in use has fewer than 1 set in 40 overfull.
const WAYS: usize = 8;

/// The fewest and the most keys a table may be made for. The most take 16 MiB.
pub(crate) const FEWEST_KEYS: usize = WAYS;
pub(crate) const MOST_KEYS: usize = 1 << 20;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Entry; WAYS]);

#[derive(Debug, Default)]
struct Entry {
    /// The hash of the key; 0 is nobody's.
    hash: AtomicU64,
    level: Level,
}

/// A token bucket for each of a bounded number of keys.
///
/// Keys are told apart by their 64-bit hash. Who makes the hash chooses a keyed one if keys come from strangers.
#[derive(Debug)]
pub struct KeyedBuckets {
    sets: Box<[Set]>,
    pace: Pace,
    limit: RateLimit,
    crowded: AtomicU64,
}

impl KeyedBuckets {
    /// A table for about so many keys in use at once: rounded up to a power of two, at least 8, at most 2^20. Takes 16 bytes for each.
    pub fn new(limit: RateLimit, max_keys: usize) -> Self {
        let keys = max_keys.clamp(FEWEST_KEYS, MOST_KEYS).next_power_of_two();
        let sets = (0..keys / WAYS).map(|_| Set::default()).collect();
        Self { sets, pace: limit.pace(), limit, crowded: AtomicU64::new(0) }
    }

    /// Takes a token of this key, or says how long until there will be one.
    ///
    /// # Errors
    /// The key's bucket is empty.
    #[inline]
    pub fn take(&self, now: Instant, hash: u64) -> Result<(), Duration> {
        let now = ticks(now);
        self.level(now, hash).take(now, self.pace).map_err(Pace::wait)
    }

    /// Puts a token back that a call took which then did not go on.
    pub fn give_back(&self, now: Instant, hash: u64) {
        self.level(ticks(now), hash).give_back(self.pace);
    }

    /// Tokens this key has now.
    pub fn tokens(&self, now: Instant, hash: u64) -> f64 {
        let now = ticks(now);
        let hash = hash.max(1);
        let entry = self.set(hash).iter().find(|entry| entry.hash.load(Ordering::Relaxed) == hash);
        entry.map_or_else(|| f64::from(self.limit.burst()), |entry| entry.level.tokens(now, self.pace))
    }

    /// How many keys have used tokens that have not come back yet. Linear in the table.
    pub fn in_use(&self, now: Instant) -> usize {
        let now = ticks(now);
        self.sets.iter().flat_map(|set| &set.0).filter(|entry| entry.level.full_at() > now).count()
    }

    /// How many keys it has room for.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// How often a new key had to take over a bucket that was not full.
    pub fn crowded(&self) -> u64 {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Rate and burst of each key.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    #[inline]
    fn set(&self, hash: u64) -> &[Entry; WAYS] {
        // The upper half chooses the set; a table has fewer than 2^32 of them, and their number is a power of two.
        &self.sets[(hash >> 32) as usize & (self.sets.len() - 1)].0
    }

    #[inline]
    fn level(&self, now: i64, hash: u64) -> &Level {
        let hash = hash.max(1);
        let set = self.set(hash);
        match set.iter().find(|entry| entry.hash.load(Ordering::Relaxed) == hash) {
            Some(entry) => &entry.level,
            None => self.claim(now, hash, set),
        }
    }

    /// Gives a new key the fullest bucket of its set, as it is.
    fn claim<'a>(&self, now: i64, hash: u64, set: &'a [Entry; WAYS]) -> &'a Level {
        loop {
            let fullest = set.iter().min_by_key(|entry| entry.level.full_at()).unwrap_or(&set[0]);
            let was = fullest.hash.load(Ordering::Relaxed);
            if fullest.hash.compare_exchange(was, hash, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                if fullest.level.full_at() > now {
                    self.crowded.fetch_add(1, Ordering::Relaxed);
                }
                return &fullest.level;
            }
        }
    }
}
