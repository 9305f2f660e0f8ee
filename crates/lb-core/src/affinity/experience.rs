//! What endpoints did with each kind of work before.
//!
//! Every endpoint has a memory of fixed size: for [`Experience::KINDS`] kinds of work how many calls it had, how many ended well and how
//! long those took. Everything fades with a half-life of [`Experience::HALF_LIFE`], so that what an endpoint was years ago does not
//! count. When a kind comes that has no place, it takes that of the kind least remembered.
//!
//! **Bound.** 200 bytes per endpoint. All of it is relaxed atomics in chunks that never move: recording and reading take no lock and
//! allocate nothing; of two records of one kind at one endpoint in the same instant one may be lost, which the mean does not notice.
//! Kinds are told apart by a 64-bit hash of their name.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::feedback::{Done, Feedback};
use crate::slot::Slot;
use crate::stats::Outcome;

/// Endpoints in the first chunk; each further chunk is twice as large, so that few chunks hold any number and none ever moves.
const FIRST_CHUNK: usize = 64;

/// Chunks enough for every index a slot can have: 64 · (2^26 - 1) is a little below 2^32, and so above what a channel lists.
const CHUNKS: usize = 26;

/// A mean never rests on more calls than this, so that it follows an endpoint that changes.
const LONGEST_MEAN: f32 = 32.0;

/// How many calls that went well are taken to be remembered of everybody: who is not known yet counts as good, so that it is found out.
const BENEFIT: f64 = 4.0;

/// What the endpoints of one channel did before, by kind of work. Shared by the pickers that read it and the calls that feed it.
pub struct Experience {
    /// What times are counted from.
    since: OnceLock<Instant>,
    chunks: [OnceLock<Box<[Memory]>>; CHUNKS],
}

/// What one endpoint did with one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KindOutcome {
    /// Calls remembered; one that ended a half-life ago counts half.
    pub calls: f64,
    /// The share of them that ended well, 0 to 1.
    pub success_rate: f64,
    /// How long those that ended well took in the mean; zero if none did.
    pub latency: Duration,
}

/// Three words per kind, each kind of word side by side, so that looking a kind up touches one cache line.
#[derive(Debug, Default)]
struct Memory {
    kinds: [AtomicU64; Experience::KINDS],
    /// Two `f32`: success rate, seconds.
    means: [AtomicU64; Experience::KINDS],
    /// An `f32`, the calls at the time that follows it, in seconds.
    calls: [AtomicU64; Experience::KINDS],
    /// Of the slot whose memory it is.
    generation: AtomicU32,
}

impl Experience {
    /// How many kinds of work are remembered of each endpoint.
    pub const KINDS: usize = 8;

    /// After this long without a call, what is remembered counts half.
    pub const HALF_LIFE: Duration = Duration::from_secs(300);

    /// Nothing experienced yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { since: OnceLock::new(), chunks: [const { OnceLock::new() }; CHUNKS] })
    }

    /// Makes room for these endpoints. One that has taken another's index begins without memory. Called by policies when the set changes.
    pub fn make_room(&self, now: Instant, slots: impl Iterator<Item = Slot>) {
        self.since.get_or_init(|| now);
        for slot in slots {
            let (chunk, offset, len) = place(slot);
            let Some(chunk) = self.chunks.get(chunk) else { continue };
            let memory = &chunk.get_or_init(|| (0..len).map(|_| Memory::default()).collect())[offset];
            if memory.generation.load(Ordering::Relaxed) != slot.generation() {
                memory.forget();
                memory.generation.store(slot.generation(), Ordering::Relaxed);
            }
        }
    }

    /// The token of a kind of work; never 0, which stands for no kind.
    #[inline]
    pub fn token(kind: &str) -> u64 {
        // FNV-1a: a few nanoseconds for a short word, and the same in every process.
        let hash =
            kind.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        hash.max(1)
    }

    /// What an endpoint did with a kind of work; `None` if nothing is remembered.
    pub fn outcome(&self, slot: Slot, kind: &str, now: Instant) -> Option<KindOutcome> {
        self.remembered(slot, Self::token(kind), now)
    }

    #[inline]
    pub(crate) fn remembered(&self, slot: Slot, token: u64, now: Instant) -> Option<KindOutcome> {
        let memory = self.memory(slot)?;
        let at = memory.find(token)?;
        let (success_rate, seconds) = unpack(memory.means[at].load(Ordering::Relaxed));
        let calls = f64::from(memory.calls_at(at, self.seconds(now)));
        Some(KindOutcome {
            calls,
            success_rate: f64::from(success_rate),
            latency: Duration::try_from_secs_f32(seconds).unwrap_or_default(),
        })
    }

    /// Counts a call of a kind of work that took this long and ended well or not.
    pub fn record(&self, slot: Slot, kind: &str, now: Instant, latency: Duration, succeeded: bool) {
        self.learn(slot, Self::token(kind), now, latency, succeeded);
    }

    fn learn(&self, slot: Slot, token: u64, now: Instant, latency: Duration, succeeded: bool) {
        let now = self.seconds(now);
        if let Some(memory) = self.memory(slot) {
            let at = memory.find(token).unwrap_or_else(|| memory.replace(token, now));
            memory.add(at, now, latency.as_secs_f32(), succeeded);
        }
    }

    #[inline]
    fn memory(&self, slot: Slot) -> Option<&Memory> {
        let (chunk, offset, _) = place(slot);
        let memory = self.chunks.get(chunk)?.get()?.get(offset)?;
        (memory.generation.load(Ordering::Relaxed) == slot.generation()).then_some(memory)
    }

    /// Whole seconds; enough for a half-life of minutes.
    #[inline]
    fn seconds(&self, now: Instant) -> u32 {
        let since = self.since.get().copied().unwrap_or(now);
        u32::try_from(now.saturating_duration_since(since).as_secs()).unwrap_or(u32::MAX)
    }
}

impl KindOutcome {
    /// How much an endpoint suits a kind of work, 0 to 1: its success times its speed beside the fastest, drawn towards 1 while little
    /// is remembered. `fastest` in seconds.
    pub(crate) fn suits(&self, fastest: f64) -> f64 {
        let seconds = self.latency.as_secs_f64();
        let speed = if seconds > fastest { fastest / seconds } else { 1.0 };
        (self.calls * self.success_rate * speed + BENEFIT) / (self.calls + BENEFIT)
    }
}

impl Feedback for Experience {
    fn finished(&self, done: &Done<'_>) {
        if done.token != 0 && done.outcome != Outcome::Cancelled {
            self.learn(done.slot, done.token, done.now, done.latency, done.outcome == Outcome::Success);
        }
    }
}

impl fmt::Debug for Experience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room: usize = self.chunks.iter().filter_map(OnceLock::get).map(|chunk| chunk.len()).sum();
        f.debug_struct("Experience").field("room", &room).finish_non_exhaustive()
    }
}

impl Memory {
    #[inline]
    fn find(&self, token: u64) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.load(Ordering::Relaxed) == token)
    }

    /// Gives a kind the place of the one least remembered.
    #[cold]
    fn replace(&self, token: u64, now: u32) -> usize {
        let calls = |at: &usize| self.calls_at(*at, now);
        let at = (0..Experience::KINDS).min_by(|one, other| calls(one).total_cmp(&calls(other))).unwrap_or(0);
        self.calls[at].store(0, Ordering::Relaxed);
        self.means[at].store(0, Ordering::Relaxed);
        self.kinds[at].store(token, Ordering::Relaxed);
        at
    }

    fn calls_at(&self, at: usize, now: u32) -> f32 {
        let word = self.calls[at].load(Ordering::Relaxed);
        let (calls, then) = (f32::from_bits((word >> 32) as u32), word as u32);
        calls * (-(now.saturating_sub(then) as f32) / Experience::HALF_LIFE.as_secs_f32()).exp2()
    }

    fn add(&self, at: usize, now: u32, seconds: f32, succeeded: bool) {
        let calls = self.calls_at(at, now) + 1.0;
        let (rate, mean) = unpack(self.means[at].load(Ordering::Relaxed));
        let step = calls.min(LONGEST_MEAN).recip();
        let rate = rate + (f32::from(u8::from(succeeded)) - rate) * step;
        // Only what ended well tells how long the work takes; the first such call is the mean.
        let mean = match (succeeded, mean > 0.0) {
            (true, true) => mean + (seconds - mean) * step,
            (true, false) => seconds,
            (false, _) => mean,
        };
        self.means[at].store(pack(rate, mean), Ordering::Relaxed);
        self.calls[at].store(u64::from(calls.to_bits()) << 32 | u64::from(now), Ordering::Relaxed);
    }

    fn forget(&self) {
        let words = self.kinds.iter().chain(&self.means).chain(&self.calls);
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

/// The chunk of an index, its offset in it and the chunk's size.
#[inline]
fn place(slot: Slot) -> (usize, usize, usize) {
    let position = slot.index() + FIRST_CHUNK;
    let chunk = (position / FIRST_CHUNK).ilog2() as usize;
    let len = FIRST_CHUNK << chunk;
    (chunk, position - len, len)
}

fn pack(high: f32, low: f32) -> u64 {
    u64::from(high.to_bits()) << 32 | u64::from(low.to_bits())
}

#[inline]
fn unpack(word: u64) -> (f32, f32) {
    (f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::{slot, start};

    const MS: Duration = Duration::from_millis(1);

    fn experience(endpoints: u32) -> (Arc<Experience>, Instant) {
        let (experience, now) = (Experience::new(), start());
        experience.make_room(now, (0..endpoints).map(slot));
        (experience, now)
    }

    #[test]
    fn every_index_has_one_place() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            let (chunk, offset, len) = place(slot(index));
            assert_eq!((chunk, offset), expected, "{index}");
            expected = if offset + 1 == len { (chunk + 1, 0) } else { (chunk, offset + 1) };
        }
        assert_eq!(place(slot(u32::MAX)).0, CHUNKS, "beyond what is kept, and ignored");
        let (experience, now) = experience(1);
        experience.make_room(now, [slot(u32::MAX)].into_iter());
        experience.record(slot(u32::MAX), "a", now, MS, true);
        assert_eq!(experience.outcome(slot(u32::MAX), "a", now), None);
    }

    #[test]
    fn success_and_duration_are_kept_per_endpoint_and_kind() {
        let (experience, now) = experience(3);
        for call in 0..20 {
            experience.record(slot(1), "ocr", now, 10 * MS, call % 4 != 0);
            experience.record(slot(1), "mail", now, 2 * MS, true);
        }
        let ocr = experience.outcome(slot(1), "ocr", now).unwrap();
        // The mean of the first 20 is plain: 15 of 20.
        assert!((ocr.success_rate - 0.75).abs() < 1e-3 && (ocr.calls - 20.0).abs() < 1e-3, "{ocr:?}");
        assert!(ocr.latency.abs_diff(10 * MS) < MS / 100);
        assert!(experience.outcome(slot(1), "mail", now).unwrap().success_rate > 0.999);
        assert_eq!((experience.outcome(slot(0), "ocr", now), experience.outcome(slot(1), "other", now)), (None, None));
    }

    #[test]
    fn what_is_remembered_fades() {
        let (experience, now) = experience(1);
        (0..100).for_each(|_| experience.record(slot(0), "a", now, MS, false));
        let later = experience.outcome(slot(0), "a", now + Experience::HALF_LIFE).unwrap();
        assert!((later.calls - 50.0).abs() < 0.01, "{later:?}");
        // Long after, it suits as much as one nobody knows.
        let much_later = experience.outcome(slot(0), "a", now + 20 * Experience::HALF_LIFE).unwrap();
        assert!(much_later.suits(1.0) > 0.999 && later.suits(1.0) < 0.1);
    }

    #[test]
    fn kinds_are_bounded_and_the_busiest_stay() {
        let (experience, now) = experience(1);
        (0..50).for_each(|_| experience.record(slot(0), "busy", now, MS, true));
        (0..10_000).for_each(|kind| experience.record(slot(0), &format!("kind {kind}"), now, MS, true));
        assert!(experience.outcome(slot(0), "busy", now).is_some_and(|busy| busy.calls > 49.0));
        let kept = (0..10_000).filter(|kind| experience.outcome(slot(0), &format!("kind {kind}"), now).is_some()).count();
        assert_eq!(kept, Experience::KINDS - 1);
    }

    #[test]
    fn a_reused_index_begins_without_memory() {
        let (experience, now) = experience(1);
        experience.record(slot(0), "a", now, MS, true);
        let next = Slot::new(0, 1);
        experience.make_room(now, [next].into_iter());
        experience.record(slot(0), "a", now, MS, true);
        assert_eq!((experience.outcome(slot(0), "a", now), experience.outcome(next, "a", now)), (None, None));
    }

    #[test]
    fn feedback_counts_ends_but_not_cancellations() {
        let (experience, now) = experience(1);
        let end = |outcome| experience.finished(&Done::new(slot(0), now, MS, outcome).with_token(Experience::token("a")));
        [Outcome::Success, Outcome::Failure, Outcome::Cancelled].into_iter().for_each(end);
        experience.finished(&Done::new(slot(0), now, MS, Outcome::Success));
        let outcome = experience.outcome(slot(0), "a", now).unwrap();
        assert!((outcome.calls - 2.0).abs() < 1e-3 && (outcome.success_rate - 0.5).abs() < 1e-3, "{outcome:?}");
    }

    #[test]
    fn suits_is_success_times_speed_once_known() {
        let outcome = |success_rate, latency| KindOutcome { calls: 1e6, success_rate, latency };
        assert!((outcome(1.0, MS).suits(0.001) - 1.0).abs() < 1e-3);
        assert!((outcome(1.0, 4 * MS).suits(0.001) - 0.25).abs() < 1e-3);
        assert!((outcome(0.5, MS).suits(0.001) - 0.5).abs() < 1e-3);
        // Nothing ended well: no speed, no success.
        assert!(outcome(0.0, Duration::ZERO).suits(f64::INFINITY) < 1e-3);
    }
}
