//! `ring_hash`: calls with equal keys go to the same endpoint, and few keys move when endpoints come or go.
//!
//! Every endpoint has points on a ring of hashes, in proportion to its weight; a call goes to the endpoint of the first point at or
//! after the hash of its key. The points are hashes of the endpoint's key (its id, else its first address) and a counter, so that
//! every client with the same list has the same ring. A call's key is its hash key, else its session, else the header
//! `requestHashHeader`; without a header configured a call needs one of the first two and fails without, with one configured a call
//! without key goes anywhere. Endpoints are connected only when a call leads there.
//!
//! **Bound.** The ring has at least `minRingSize` points (1024), at most `maxRingSize` (4096), and as far as these allow exactly as
//! many per endpoint as weights say. With `k` points each, shares differ by about `1/√k` of themselves: ±10 % for ten endpoints at
//! the default size. One of `n` endpoints that leaves moves its own share of the keys, `1/n`; and where the others get more points
//! for it, to keep the ring at its least size, these take up to as much again from one another: `2/n` in all with fewer than 500
//! endpoints. With more endpoints than points some get no calls: raise `maxRingSize`, and the cap with
//! [`with_cap`](RingHash::with_cap). Where all clients are of this library, `pointsPerWeight` gives every endpoint its points whatever
//! others there are: then an endpoint that leaves moves its own keys and no others, `1/n` and at most `1.5/n` with 128 points; the ring
//! is then not the one that other gRPC clients have. A pick costs O(1): an index leads to the point or one close before it. The ring is rebuilt, in
//! O(points · log points), only when keys or weights change.
//!
//! With `hashBalanceFactor` (percent, from 100) no endpoint takes more than that of the mean of calls in flight; what is too much
//! goes to the next on the ring. Then all endpoints are connected.
//!
//! **When not.** Nothing is cached per key and all endpoints are alike: [`least_request`](super::LeastRequest) spreads better.
//! [`maglev`](super::Maglev) is more even, [`rendezvous`](super::Rendezvous) moves fewer keys; neither is known to other gRPC
//! clients.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::RingHash};
//! use serde_json::json;
//!
//! let typed = RingHash::from_config(&json!({"requestHashHeader": "x-user"}))?;
//! let by_name = PolicyRegistry::default().build("ring_hash_experimental", &json!({"minRingSize": 2048}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A42, A61, A76; Karger et al., "Consistent Hashing and Random Trees", STOC 1997. Differences: an address may be in
//! several endpoints, each then has its own place if the keys differ; later attempts of a call avoid the endpoints tried before.

use std::fmt::Write;
use std::time::Instant;

use serde_json::Value;

use super::bounded::Bounds;
use super::config;
use super::hash::{self, CallHash};
use super::members::Member;
use super::walk::{Hashing, Table};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

const DEFAULT_MIN: u32 = 1024;

const DEFAULT_MAX: u32 = 4096;

/// The largest ring anybody may configure (gRFC A42).
const MOST: u32 = 8 * 1024 * 1024;

/// What a client makes of larger sizes that somebody else configured, unless it was told otherwise: 96 KiB (gRFC A42).
const DEFAULT_CAP: u32 = 4096;

/// The same where every endpoint has its own number of points, so that the ring grows with them: 4 MiB.
const ROOMY_CAP: u32 = 256 * 1024;

/// Points per unit of weight beyond which shares get no evener worth speaking of: ±1.6 %.
const MOST_PER_WEIGHT: u32 = 4096;

/// Equal keys to the same endpoint, by a ring of hashes. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct RingHash {
    min: u32,
    max: u32,
    /// `None` for gRPC's ring.
    per_weight: Option<u32>,
    cap: Option<u32>,
    hashing: Hashing<Ring>,
}

/// How many points a ring has.
#[derive(Debug, Clone, Copy)]
struct Size {
    min: u32,
    max: u32,
    per_weight: Option<u32>,
}

impl RingHash {
    /// Its name in service configs; `ring_hash` is accepted as well.
    pub const NAME: &'static str = "ring_hash_experimental";

    /// From its configuration: `minRingSize` (default 1024) and `maxRingSize` (4096), each at most 8 388 608, where 0 is the
    /// default and more than the cap is the cap; `pointsPerWeight`, 1 to 4096, in place of the two (default none; not gRPC's: see the
    /// module); `requestHashHeader`, a header's name (default none); `hashBalanceFactor`, percent
    /// from 100 (default none).
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let (min, max) = (size(config, "minRingSize", DEFAULT_MIN)?, size(config, "maxRingSize", DEFAULT_MAX)?);
        if min > max {
            let allowed = format!("at most maxRingSize, {max}");
            return Err(ConfigError::new(format!("{}.minRingSize", Self::NAME), min, allowed));
        }
        let (by, bounds) = (CallHash::strict(Self::NAME, config)?, Bounds::from_config(Self::NAME, config)?);
        Ok(Self { min, max, per_weight: per_weight(config)?, cap: None, hashing: Hashing::new(by, bounds) })
    }

    /// The same with another cap on the size of the ring, 1 to 8 388 608 (default 4096; 262 144 with `pointsPerWeight`); values outside
    /// are taken as the nearest.
    #[must_use]
    pub fn with_cap(mut self, cap: u32) -> Self {
        self.cap = Some(cap.clamp(1, MOST));
        self
    }
}

impl Policy for RingHash {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let size = self.size();
        self.hashing.rebuild(now, view, plan, |members| Ring::new(members, size))
    }
}

impl RingHash {
    fn size(&self) -> Size {
        let roomy = self.per_weight.is_some();
        let default = if roomy { ROOMY_CAP } else { DEFAULT_CAP };
        let cap = self.cap.unwrap_or(default);
        let max = if roomy { cap } else { self.max.min(cap) };
        Size { min: self.min.min(cap), max, per_weight: self.per_weight }
    }
}

fn per_weight(config: &Value) -> Result<Option<u32>, ConfigError> {
    let field = "pointsPerWeight";
    match config::unsigned(RingHash::NAME, config, field, 0)? {
        0 if config.get(field).is_none_or(Value::is_null) => Ok(None),
        points @ 1..=MOST_PER_WEIGHT => Ok(Some(points)),
        points => {
            let allowed = format!("a whole number from 1 to {MOST_PER_WEIGHT}");
            Err(ConfigError::new(format!("{}.{field}", RingHash::NAME), points, allowed))
        }
    }
}

fn size(config: &Value, field: &str, default: u32) -> Result<u32, ConfigError> {
    match config::unsigned(RingHash::NAME, config, field, default)? {
        0 => Ok(default),
        size if size > MOST => {
            Err(ConfigError::new(format!("{}.{field}", RingHash::NAME), size, format!("a whole number from 0 to {MOST}")))
        }
        size => Ok(size),
    }
}

/// Points in order of their hashes, never none; `buckets[b]` is the first of them whose hash begins with the bits `b` or more.
#[derive(Debug)]
struct Ring {
    points: Box<[Point]>,
    buckets: Box<[u32]>,
    /// Hash to bucket.
    shift: u32,
}

/// Hash and member side by side: a look-up then touches one cache line less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    hash: u64,
    member: u32,
}

impl Ring {
    fn new(members: &[Member], size: Size) -> Self {
        let mut points = points(members, size);
        points.sort_unstable();
        let bits = points.len().next_power_of_two().trailing_zeros() + 1;
        let shift = u64::BITS - bits;
        let first_of = |bucket: u64| points.partition_point(|point| point.hash >> shift < bucket) as u32;
        let buckets = (0..1 << bits).map(first_of).collect();
        Self { points: points.into(), buckets, shift }
    }
}

/// The points of all members. Members come sorted by key, so that the rounding is the same everywhere.
fn points(members: &[Member], size: Size) -> Vec<Point> {
    let weights = || members.iter().map(|member| f64::from(member.weight));
    let total: f64 = weights().sum();
    let least = weights().filter(|weight| *weight > 0.0).fold(total, f64::min) / total;
    let scale = match size.per_weight {
        Some(points) => total * f64::from(points),
        None => (least * f64::from(size.min)).ceil() / least,
    };
    let scale = scale.min(f64::from(size.max));
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    let (mut current, mut target) = (0.0, 0.0);
    let mut text = String::new();
    for (member, index) in members.iter().zip(0..) {
        target += scale * f64::from(member.weight) / total;
        let mut counter = 0;
        while current < target {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{}_{counter}", member.key);
            points.push(Point { hash: hash::hash(text.as_bytes()), member: index });
            counter += 1;
            current += 1.0;
        }
    }
    points
}

impl Table for Ring {
    #[inline]
    fn places(&self) -> usize {
        self.points.len()
    }

    #[inline]
    fn find(&self, hash: u64) -> usize {
        // Buckets are twice as many as points, so that one holds half a point, which is most often at or after the hash.
        let first = self.buckets[(hash >> self.shift) as usize] as usize;
        let before = self.points[first..].iter().take_while(|point| point.hash < hash).count();
        if first + before == self.points.len() { 0 } else { first + before }
    }

    #[inline]
    fn member(&self, place: usize) -> usize {
        self.points[place].member as usize
    }

    fn width(&self, place: usize) -> f64 {
        let before = if place == 0 { self.points.len() - 1 } else { place - 1 };
        let width = self.points[place].hash.wrapping_sub(self.points[before].hash);
        // A single point has the whole ring.
        if self.points.len() == 1 { 1.0 } else { width as f64 / 2_f64.powi(64) }
    }
}

#[cfg(test)]
mod tests;
