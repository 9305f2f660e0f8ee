//! A table of sessions that many calls use at once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_core::sessions::{
    SessionChoice, SessionInfo, SessionLimits, SessionRecord, SessionRules, SessionStats, SessionTable, SessionTicket, Settled,
    Sought, Standing,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A call holds a lock for a microsecond or two; at a hundred thousand calls a second one of 16 is held for about 1 % of the time.
const SHARDS: usize = 16;

/// Below this a store has one shard, since a shard that holds a few sessions evicts long before the others are full.
const LEAST_PER_SHARD: usize = 256;

/// How many sessions are cleaned up under one lock.
const SWEPT_AT_ONCE: usize = 256;

/// The sessions of one or several channels. Cheap to clone; all clones are the same store.
///
/// It is made of shards that hold an equal part of [`max_sessions`](SessionLimits::max_sessions) each. Ids fall on shards at random, so
/// that the first shard is full, and begins to evict, a few percent before the store as a whole is.
#[derive(Debug, Clone)]
pub struct SessionStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: SessionLimits,
    shards: Box<[Mutex<SessionTable>]>,
    hasher: RandomState,
}

/// Every session of a store at one time, as data; it holds ids of sessions, which most often are personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionExport {
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// The sessions.
    pub sessions: Vec<SessionRecord>,
}

/// Some of the sessions of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, in no particular order.
    pub sessions: Vec<SessionInfo>,
    /// Where to go on; `None` at the end.
    pub next: Option<SessionCursor>,
}

/// A place between two pages; as data one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionCursor(u64);

impl SessionStore {
    /// An empty store.
    pub fn new(limits: SessionLimits) -> Self {
        let count = if limits.max_sessions() < SHARDS * LEAST_PER_SHARD { 1 } else { SHARDS };
        let hasher = RandomState::new();
        let shards = (0..count).map(|shard| Mutex::new(SessionTable::new(limits.share(count), hasher.hash_one(shard)))).collect();
        Self(Arc::new(Inner { limits, shards, hasher }))
    }

    /// What it was made with.
    pub fn limits(&self) -> SessionLimits {
        self.0.limits
    }

    /// One session, if there is one. Looking does not keep it alive.
    pub fn get(&self, session: &str) -> Option<SessionInfo> {
        self.shard(session).get(now(), session)
    }

    /// Puts a session at an endpoint by hand, such as to relieve another; its later calls go there. Returns where it was.
    pub fn place(&self, session: &str, endpoint: &str) -> Option<Arc<str>> {
        self.shard(session).place(now(), session, endpoint)
    }

    /// Forgets a session; whether there was one. Calls in progress finish.
    pub fn clear(&self, session: &str) -> bool {
        self.shard(session).clear(now(), session)
    }

    /// Forgets the sessions of an endpoint, which then are placed anew; how many there were. Ends what a drain leaves.
    pub fn clear_endpoint(&self, endpoint: &str) -> usize {
        self.shards().map(|mut table| table.clear_endpoint(endpoint)).sum()
    }

    /// Forgets every session; how many there were.
    pub fn clear_all(&self) -> usize {
        self.shards().map(|mut table| table.clear_all()).sum()
    }

    /// How many sessions are remembered, those that ended since the last cleaning included.
    pub fn len(&self) -> usize {
        self.shards().map(|table| table.len()).sum()
    }

    /// Whether no session is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened to sessions and their calls so far.
    pub fn stats(&self) -> SessionStats {
        self.shards().fold(SessionStats::default(), |sum, table| sum.plus(table.stats()))
    }

    /// How many sessions each endpoint has, by its name: its key, or its id in a store [across
    /// services](crate::SessionConfig::across_services).
    pub fn by_endpoint(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for table in self.shards() {
            for (endpoint, count) in table.by_endpoint(now()) {
                *counts.entry(endpoint).or_default() += count;
            }
        }
        counts
    }

    /// At most `most` sessions (and at least one, if any is left), from the beginning or from where the last page ended. Pages that follow
    /// each other hold each session that exists all the while exactly once.
    pub fn page(&self, from: Option<SessionCursor>, most: usize) -> SessionPage {
        let SessionCursor(from) = from.unwrap_or(SessionCursor(0));
        let (first, mut place) = ((from >> 32) as usize, (from & u64::from(u32::MAX)) as usize);
        let (mut sessions, most) = (Vec::new(), most.max(1));
        for (number, table) in self.shards().enumerate().skip(first) {
            let (page, next) = table.page(now(), place, most - sessions.len());
            sessions.extend(page);
            if let Some(next) = next {
                return SessionPage { sessions, next: Some(SessionCursor((number as u64) << 32 | next as u64)) };
            }
            place = 0;
        }
        SessionPage { sessions, next: None }
    }

    /// Every session as data, to be [taken over](Self::import) by a store of another process.
    pub fn export(&self) -> SessionExport {
        SessionExport { at_ms: unix_ms(), sessions: self.shards().flat_map(|table| table.export(now())).collect() }
    }

    /// Takes over what another process has exported; how many sessions. The time since then counts. Sessions there are already stay as
    /// they are; if there is no room for all, the idlest are left out.
    pub fn import(&self, export: &SessionExport) -> usize {
        // Clocks that disagree make sessions live longer by as much, not for ever.
        let elapsed = Duration::from_millis(unix_ms().saturating_sub(export.at_ms));
        let mut parts: Vec<Vec<SessionRecord>> = vec![Vec::new(); self.0.shards.len()];
        for record in &export.sessions {
            parts[self.number(&record.session)].push(record.clone());
        }
        self.shards().zip(parts).map(|(mut table, records)| table.import(now(), elapsed, records)).sum()
    }

    /// A hash of a session's id for events and logs, which leads nobody back to the id.
    pub(crate) fn mark(&self, session: &str) -> u64 {
        self.0.hasher.hash_one((session, "mark"))
    }

    pub(super) fn seek<T>(
        &self,
        session: &str,
        now: Instant,
        rules: &SessionRules,
        standing: impl FnMut(&str) -> (Standing, T),
    ) -> Sought<T> {
        self.shard(session).seek(now.into_std(), session, rules, standing)
    }

    pub(super) fn settle(&self, session: &str, now: Instant, choice: &SessionChoice, chosen: &str) -> Settled {
        self.shard(session).settle(now.into_std(), session, choice, chosen)
    }

    /// The session of a call that is about to begin, to be told when the call has ended.
    pub(super) fn hold(&self, session: &str, ticket: SessionTicket) -> Held {
        Held { store: self.clone(), shard: self.number(session), ticket }
    }

    /// Drops every session whose time is over.
    pub(super) fn sweep(&self) {
        for shard in &self.0.shards {
            while lock(shard).expire(now(), SWEPT_AT_ONCE) == SWEPT_AT_ONCE {}
        }
    }

    fn number(&self, session: &str) -> usize {
        match self.0.shards.len() {
            1 => 0,
            // Fewer than 2^32 shards.
            count => (self.0.hasher.hash_one(session) % count as u64) as usize,
        }
    }

    fn shard(&self, session: &str) -> MutexGuard<'_, SessionTable> {
        lock(&self.0.shards[self.number(session)])
    }

    /// Every shard, locked one after the other.
    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, SessionTable>> {
        self.0.shards.iter().map(lock)
    }
}

impl Default for SessionStore {
    /// A store with default limits.
    fn default() -> Self {
        Self::new(SessionLimits::default())
    }
}

/// A call in progress of a session; ends when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    store: SessionStore,
    shard: usize,
    ticket: SessionTicket,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.store.0.shards[self.shard]).end(now(), self.ticket);
    }
}

fn lock(shard: &Mutex<SessionTable>) -> MutexGuard<'_, SessionTable> {
    // A table has no states in between that a panic could leave: what it calls under the lock looks at a snapshot only.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(max: usize) -> SessionStore {
        SessionStore::new(SessionLimits::try_new(Duration::from_secs(60), None, max).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn pages_go_through_every_shard() {
        let store = store(100_000);
        for n in 0..1000 {
            store.place(&format!("s{n}"), ["a", "b"][n % 2]);
        }
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let page = store.page(from, 7);
            assert!(!page.sessions.is_empty() && page.sessions.len() <= 7);
            seen.extend(page.sessions.into_iter().map(|info| info.session));
            let Some(next) = page.next else { break };
            let text = serde_json::to_string(&next).unwrap();
            from = Some(serde_json::from_str(&text).unwrap());
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((seen.len(), store.len()), (1000, 1000));
        assert_eq!(store.by_endpoint().into_values().collect::<Vec<_>>(), [500, 500]);
        assert_eq!(store.page(Some(SessionCursor(u64::MAX)), 7).sessions, []);
        assert_eq!((store.clear_endpoint("a"), store.clear_all()), (500, 500));
    }

    #[tokio::test(start_paused = true)]
    async fn an_export_is_text_and_comes_back_into_another_store() {
        let before = store(100_000);
        (0..100).for_each(|n| drop(before.place(&format!("s{n}"), "a")));
        let text = serde_json::to_string(&before.export()).unwrap();
        let after = store(50_000);
        assert_eq!(after.import(&serde_json::from_str(&text).unwrap()), 100);
        assert_eq!(&*after.get("s42").unwrap().endpoint, "a");
        let mut old: SessionExport = serde_json::from_str(&text).unwrap();
        old.at_ms -= 60_000;
        assert_eq!(store(100).import(&old), 0, "a minute has passed");
    }

    #[tokio::test(start_paused = true)]
    async fn sweeping_drops_all_that_is_over() {
        let store = store(100_000);
        (0..10_000).for_each(|n| drop(store.place(&format!("s{n}"), "a")));
        tokio::time::advance(Duration::from_secs(59)).await;
        store.sweep();
        assert_eq!(store.len(), 10_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        store.sweep();
        assert_eq!((store.len(), store.stats().expired), (0, 10_000));
    }

    #[test]
    fn never_more_than_its_limit_and_little_less() {
        for (max, least) in [(1, 1), (100, 100), (10_000, 9_000)] {
            let store = store(max);
            (0..5 * max).for_each(|n| drop(store.place(&format!("s{n}"), "a")));
            assert!((least..=max + SHARDS).contains(&store.len()), "{} of {max}", store.len());
        }
    }
}
