//! All limits a call meets before its endpoint is picked.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::bucket::TokenBucket;
use super::config::{KeyLimit, RateLimits};
use super::counts::{DoorCounts, KeyCounts, MeterCounts};
use super::flood::FloodGuard;
use super::keyed::KeyedBuckets;
use super::rate::RateLimit;
use super::shed::{Shed, ShedBy};
use crate::hints::PickHints;

/// What of a call the limits look at.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The time of the call.
    pub now: Instant,
    /// Its path, such as `/orders.v1.Orders/Place`.
    pub method: &'a str,
    /// Its metadata.
    pub headers: &'a HeaderMap,
    /// Its wishes.
    pub hints: Option<&'a PickHints>,
}

/// The limits of a channel in force. Shared by many threads without a lock; allocates only for the error of a call it sheds.
///
/// A call asks [`flood`](Self::flood) first and then [`admit`](Self::admit), once however often it is attempted.
#[derive(Debug, Default)]
pub struct Door {
    limits: RateLimits,
    flood: Option<Arc<FloodGuard>>,
    channel: Option<Arc<Meter>>,
    key: Option<Keys>,
    methods: BTreeMap<Arc<str>, Arc<Meter>>,
    other_methods: Option<Arc<Meter>>,
    totals: Arc<Totals>,
}

/// Over all the limits a channel ever had.
#[derive(Debug, Default)]
struct Totals {
    admitted: AtomicU64,
    flood: AtomicU64,
    floods_before: AtomicU64,
    channel: AtomicU64,
    method: AtomicU64,
    key: AtomicU64,
}

/// A bucket and what became of the calls that asked it.
#[derive(Debug)]
struct Meter {
    bucket: TokenBucket,
    shed: AtomicU64,
}

#[derive(Debug, Clone)]
struct Keys {
    config: KeyLimit,
    buckets: Arc<KeyedBuckets>,
}

impl Meter {
    fn new(limit: RateLimit) -> Arc<Self> {
        Arc::new(Self { bucket: TokenBucket::new(limit), shed: AtomicU64::new(0) })
    }

    /// The same, or one that goes on from it.
    fn after(before: Option<&Arc<Self>>, now: Instant, limit: RateLimit) -> Arc<Self> {
        match before {
            None => Self::new(limit),
            Some(before) if before.bucket.limit() == limit => Arc::clone(before),
            Some(before) => Arc::new(Self {
                bucket: before.bucket.after(now, limit),
                shed: AtomicU64::new(before.shed.load(Ordering::Relaxed)),
            }),
        }
    }

    #[inline]
    fn take(&self, now: Instant, total: &AtomicU64) -> Result<(), Duration> {
        self.bucket.take(now).inspect_err(|_| {
            self.shed.fetch_add(1, Ordering::Relaxed);
            total.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn counts(&self, now: Instant) -> MeterCounts {
        let (limit, tokens) = (self.bucket.limit(), self.bucket.tokens(now));
        MeterCounts { limit, tokens, shed: self.shed.load(Ordering::Relaxed) }
    }
}

impl Keys {
    fn after(before: Option<&Self>, config: &KeyLimit) -> Self {
        let same = before.filter(|before| before.config.limit == config.limit && before.config.keys() == config.keys());
        let buckets =
            same.map_or_else(|| Arc::new(KeyedBuckets::new(config.limit, config.keys())), |same| Arc::clone(&same.buckets));
        Self { config: config.clone(), buckets }
    }

    /// What the call counts as; empty is nobody.
    fn of<'a>(&self, caller: &Caller<'a>) -> Option<&'a [u8]> {
        let own = caller.hints.and_then(|hints| hints.limit_key.as_deref()).map(str::as_bytes);
        let header = || Some(caller.headers.get(self.config.header.as_ref()?)?.as_bytes());
        own.or_else(header).filter(|key| !key.is_empty())
    }
}

impl Door {
    /// These limits from now on, with every bucket full.
    pub fn new(limits: RateLimits, now: Instant) -> Self {
        Self::default().after(limits, now)
    }

    /// Other limits from now on. What stays as it was keeps its state; a bucket at another rate keeps its tokens, as far as they fit; a
    /// table of keys at another rate or size starts anew. Counts go on.
    #[must_use]
    pub fn after(&self, limits: RateLimits, now: Instant) -> Self {
        let flood = limits.flood.map(|limit| match &self.flood {
            Some(before) if before.limit() == limit => Arc::clone(before),
            before => {
                self.totals.floods_before.fetch_add(before.as_ref().map_or(0, |guard| guard.floods()), Ordering::Relaxed);
                Arc::new(FloodGuard::new(limit))
            }
        });
        let meter = |(name, limit): (&Arc<str>, &RateLimit)| (Arc::clone(name), Meter::after(self.methods.get(name), now, *limit));
        Self {
            flood,
            channel: limits.channel.map(|limit| Meter::after(self.channel.as_ref(), now, limit)),
            key: limits.key.as_ref().map(|config| Keys::after(self.key.as_ref(), config)),
            methods: limits.methods.iter().map(meter).collect(),
            other_methods: limits.other_methods.map(|limit| Meter::after(self.other_methods.as_ref(), now, limit)),
            limits,
            totals: Arc::clone(&self.totals),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Whether the call is one of a flood. To be asked before anything else.
    ///
    /// # Errors
    /// It is.
    #[inline]
    pub fn flood(&self, now: Instant) -> Result<(), Shed> {
        let Some(guard) = &self.flood else { return Ok(()) };
        guard.enter(now).map_err(|wait| {
            self.totals.flood.fetch_add(1, Ordering::Relaxed);
            Shed::new(ShedBy::Flood(guard.limit()), wait)
        })
    }

    /// Takes a token of every limit the call is under, or of none. `hasher` tells keys apart; it should have a secret.
    ///
    /// # Errors
    /// The first limit, from the narrowest to the widest, that has none.
    #[inline]
    pub fn admit(&self, caller: &Caller<'_>, hasher: &impl BuildHasher) -> Result<(), Shed> {
        let now = caller.now;
        let keyed = self.key.as_ref().and_then(|keys| keys.of(caller).map(|key| (keys, key, hasher.hash_one(key))));
        if let Some((keys, key, hash)) = keyed {
            keys.buckets.take(now, hash).map_err(|wait| self.shed_key(keys, key, wait))?;
        }
        let method = self.method(caller.method);
        let took = self.take_wide(now, method);
        if let (Err(_), Some((keys, _, hash))) = (&took, keyed) {
            keys.buckets.give_back(now, hash);
        }
        took.inspect(|()| {
            self.totals.admitted.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[inline]
    fn take_wide(&self, now: Instant, method: Option<(&str, &Meter)>) -> Result<(), Shed> {
        if let Some((name, meter)) = method {
            let shed = |wait| Shed::new(ShedBy::Method { name: name.into(), limit: meter.bucket.limit() }, wait);
            meter.take(now, &self.totals.method).map_err(shed)?;
        }
        let Some(channel) = &self.channel else { return Ok(()) };
        channel.take(now, &self.totals.channel).map_err(|wait| {
            if let Some((_, meter)) = method {
                meter.bucket.give_back();
            }
            Shed::new(ShedBy::Channel(channel.bucket.limit()), wait)
        })
    }

    /// The narrowest limit that is for this method: its own, its service's, that of all others.
    #[inline]
    fn method(&self, path: &str) -> Option<(&str, &Meter)> {
        let own = || if self.methods.is_empty() { None } else { self.methods.get_key_value(path) };
        let service = || self.methods.get_key_value(path.rsplit_once('/')?.0);
        let found = own().or_else(|| if self.methods.is_empty() { None } else { service() });
        let named = found.map(|(name, meter)| (&**name, &**meter));
        named.or_else(|| self.other_methods.as_deref().map(|meter| ("*", meter)))
    }

    #[cold]
    fn shed_key(&self, keys: &Keys, key: &[u8], wait: Duration) -> Shed {
        self.totals.key.fetch_add(1, Ordering::Relaxed);
        let key = String::from_utf8_lossy(key).into();
        Shed::new(ShedBy::Key { key, limit: keys.config.limit }, wait)
    }

    /// Calls shed by any limit here.
    pub fn shed(&self) -> u64 {
        let totals = &self.totals;
        [&totals.flood, &totals.channel, &totals.method, &totals.key].map(|count| count.load(Ordering::Relaxed)).iter().sum()
    }

    /// What became of calls so far, and what is left of each limit. Linear in the keys a key limit is for.
    pub fn counts(&self, now: Instant) -> DoorCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let guard = self.flood.as_ref();
        DoorCounts {
            admitted: read(&self.totals.admitted),
            shed_by_flood: read(&self.totals.flood),
            shed_by_channel: read(&self.totals.channel),
            shed_by_method: read(&self.totals.method),
            shed_by_key: read(&self.totals.key),
            floods: read(&self.totals.floods_before) + guard.map_or(0, |guard| guard.floods()),
            flooding: guard.is_some_and(|guard| guard.is_flooding()),
            channel: self.channel.as_ref().map(|meter| meter.counts(now)),
            methods: self.methods.iter().map(|(name, meter)| (name.to_string(), meter.counts(now))).collect(),
            other_methods: self.other_methods.as_ref().map(|meter| meter.counts(now)),
            keys: self.key.as_ref().map(|keys| KeyCounts {
                limit: keys.config.limit,
                in_use: keys.buckets.in_use(now),
                capacity: keys.buckets.capacity(),
                crowded: keys.buckets.crowded(),
            }),
        }
    }
}
