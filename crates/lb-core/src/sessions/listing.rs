//! Looking at sessions, and keeping them over a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::name::name;
use super::record::{SessionInfo, SessionRecord};
use super::shelves::Entry;
use super::table::SessionTable;

impl SessionTable {
    /// One session. Looking is no use: its idle time goes on.
    pub fn get(&self, now: Instant, session: &str) -> Option<SessionInfo> {
        let index = self.find(now, &name(session))?;
        Some(self.info(now, self.shelves.get(index)))
    }

    /// Every session whose time is not over, in no particular order.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = SessionInfo> {
        let living = self.shelves.iter_from(0).filter(move |(_, entry)| !self.over(now, entry));
        living.map(move |(_, entry)| self.info(now, entry))
    }

    /// At most `most` sessions from a place on, and the place to go on from, if there are more. Pages that follow each other hold each
    /// session that exists all the while exactly once.
    pub fn page(&self, now: Instant, from: usize, most: usize) -> (Vec<SessionInfo>, Option<usize>) {
        let mut entries = self.shelves.iter_from(from).filter(|(_, entry)| !self.over(now, entry)).peekable();
        let page = entries.by_ref().take(most).map(|(_, entry)| self.info(now, entry)).collect();
        (page, entries.peek().map(|(index, _)| *index as usize))
    }

    /// How many sessions each endpoint has.
    pub fn by_endpoint(&self, now: Instant) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for (_, entry) in self.shelves.iter_from(0).filter(|(_, entry)| !self.over(now, entry)) {
            *counts.entry(Arc::clone(self.homes.name(entry.home))).or_default() += 1;
        }
        counts
    }

    /// Every session as a record, to be read again by [`import`](Self::import).
    pub fn export(&self, now: Instant) -> Vec<SessionRecord> {
        let living = self.shelves.iter_from(0).filter(|(_, entry)| !self.over(now, entry));
        living.map(|(_, entry)| self.record(now, entry)).collect()
    }

    /// Takes over records that were made `elapsed` ago; how many. Sessions there are already stay as they are, records whose time is
    /// over are left out, and if there are more than there is room for, the idlest are.
    pub fn import(&mut self, now: Instant, elapsed: Duration, mut records: Vec<SessionRecord>) -> usize {
        records.sort_by_key(|record| record.idle_ms);
        let already = self.len();
        for record in &records {
            if self.len() >= self.limits.max_sessions() {
                break;
            }
            // A time before the clock's own beginning cannot be told; such a session is as good as over.
            let before = |ms| now.checked_sub(elapsed.saturating_add(Duration::from_millis(ms)));
            if let (Some(created), Some(used)) = (before(record.age_ms.max(record.idle_ms)), before(record.idle_ms)) {
                self.restore(now, record, created, used);
            }
        }
        self.len() - already
    }

    fn info(&self, now: Instant, entry: &Entry) -> SessionInfo {
        let idle = if entry.open > 0 { Duration::ZERO } else { now.saturating_duration_since(entry.used) };
        SessionInfo {
            session: Arc::clone(&entry.name),
            endpoint: Arc::clone(self.homes.name(entry.home)),
            guest: entry.guest.map(|guest| Arc::clone(self.homes.name(guest))),
            age: now.saturating_duration_since(entry.created),
            idle,
            in_flight: entry.open,
        }
    }

    fn record(&self, now: Instant, entry: &Entry) -> SessionRecord {
        let info = self.info(now, entry);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        SessionRecord {
            session: info.session,
            endpoint: info.endpoint,
            age_ms: ms(info.age),
            idle_ms: ms(info.idle),
            proven: entry.proven(),
        }
    }
}
