//! The table of sessions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::config::SessionLimits;
use super::homes::{HomeId, Homes};
use super::name::{Seeded, name};
use super::record::{SessionRecord, SessionStats};
use super::rules::{SessionRules, SessionVerdict, Standing};
use super::shelves::{Entry, SessionTicket, Shelf, Shelves};

/// New sessions have a fifth of the room to themselves, so that they get the chance to prove themselves.
const NEW_SHARE: usize = 5;

/// How many sessions that ended each new one cleans up: more than one, so that a table under traffic never falls behind.
const CLEANED_PER_PLACED: usize = 2;

/// Remembers where sessions are; see the [module](super).
///
/// Names of endpoints are any text that stays the same: the text of an [`EndpointKey`](crate::EndpointKey), or an id.
#[derive(Debug)]
pub struct SessionTable {
    pub(super) limits: SessionLimits,
    pub(super) by_name: HashMap<Arc<str>, u32, Seeded>,
    pub(super) shelves: Shelves,
    /// By time of birth, for ending sessions by age.
    pub(super) ages: BTreeSet<(Instant, u32)>,
    pub(super) homes: Homes,
    pub(super) stats: SessionStats,
}

/// What a call of a session shall do. `T` is what [`SessionTable::seek`]'s caller knows of the endpoint.
#[derive(Debug)]
pub enum Sought<T> {
    /// Go there. When the call has ended, say so with [`SessionTable::end`].
    Use {
        /// What `standing` returned for it.
        place: T,
        /// Names the session until the call has ended.
        ticket: SessionTicket,
    },
    /// Wait for that endpoint, and ask again.
    Wait(T),
    /// Fail, or wait if the call waits for ready: that endpoint cannot take the call, and the rules let the session not leave.
    Fail(T),
    /// Let the policy choose an endpoint, and tell [`SessionTable::settle`].
    Choose(SessionChoice),
}

/// What an endpoint is being chosen for; made by [`SessionTable::seek`] for [`SessionTable::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionChoice(Purpose);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The session is new.
    Begin,
    /// It leaves this endpoint.
    Move { from: HomeId, of: SessionTicket },
    /// It stays, and the guest it had cannot take the call.
    Lend { guest: Option<HomeId>, of: SessionTicket },
}

/// What became of a choice.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// The call goes where it was chosen to go. When it has ended, say so with [`SessionTable::end`].
    Placed {
        /// Names the session until the call has ended.
        ticket: SessionTicket,
        /// The endpoint the session has left.
        moved_from: Option<Arc<str>>,
    },
    /// Another call of the session settled first, elsewhere: seek again.
    Again,
}

impl SessionTable {
    /// An empty table. `seed` should not be known to those who choose session ids.
    pub fn new(limits: SessionLimits, seed: u64) -> Self {
        Self {
            limits,
            by_name: HashMap::with_hasher(Seeded(seed)),
            shelves: Shelves::default(),
            ages: BTreeSet::new(),
            homes: Homes::default(),
            stats: SessionStats::default(),
        }
    }

    /// Where a call of this session goes. `standing` is asked how an endpoint stands towards the call, first the session's own and
    /// possibly its guest; what it returns beside comes back.
    pub fn seek<T>(
        &mut self,
        now: Instant,
        session: &str,
        rules: &SessionRules,
        mut standing: impl FnMut(&str) -> (Standing, T),
    ) -> Sought<T> {
        let Some(index) = self.alive(now, &name(session)) else { return Sought::Choose(SessionChoice(Purpose::Begin)) };
        let (home, guest, of) = self.whereabouts(index);
        let (stands, place) = standing(self.homes.name(home));
        match rules.verdict(stands) {
            SessionVerdict::Use => {
                self.stats.hits += 1;
                Sought::Use { place, ticket: self.begin(now, index) }
            }
            SessionVerdict::Wait => Sought::Wait(place),
            SessionVerdict::Fail => Sought::Fail(place),
            SessionVerdict::Move => Sought::Choose(SessionChoice(Purpose::Move { from: home, of })),
            SessionVerdict::Lend => {
                if let Some((Standing::Serving, place)) = guest.map(|guest| standing(self.homes.name(guest))) {
                    self.stats.lent += 1;
                    return Sought::Use { place, ticket: self.begin(now, index) };
                }
                Sought::Choose(SessionChoice(Purpose::Lend { guest, of }))
            }
        }
    }

    /// Remembers the endpoint that the policy chose for a call of this session.
    pub fn settle(&mut self, now: Instant, session: &str, choice: &SessionChoice, chosen: &str) -> Settled {
        let name = name(session);
        let Some(index) = self.alive(now, &name) else {
            self.stats.misses += 1;
            let index = self.insert(now, &name, chosen);
            self.shelves.get_mut(index).open += 1;
            return Settled::Placed { ticket: self.shelves.ticket(index), moved_from: None };
        };
        let (home, guest, ticket) = self.whereabouts(index);
        let moved_from = match choice.0 {
            _ if **self.homes.name(home) == *chosen => {
                self.stats.hits += 1;
                None
            }
            Purpose::Move { from, of } if (from, of) == (home, ticket) => {
                self.stats.moved += 1;
                Some(self.rehome(index, chosen))
            }
            Purpose::Lend { guest: before, of } if (before, of) == (guest, ticket) => {
                self.stats.lent += 1;
                self.take_in(index, chosen);
                None
            }
            _ => return Settled::Again,
        };
        Settled::Placed { ticket: self.begin(now, index), moved_from }
    }

    /// A call has ended. Does nothing if its session has ended before.
    pub fn end(&mut self, now: Instant, ticket: SessionTicket) {
        if self.shelves.held(ticket).is_some() {
            let entry = self.shelves.get_mut(ticket.index);
            entry.open = entry.open.saturating_sub(1);
            let shelf = self.shelves.shelf(ticket.index);
            self.shelves.touch(ticket.index, shelf, now);
        }
    }

    /// Puts a session at an endpoint, by hand; its later calls go there. Returns the endpoint it was at before.
    pub fn place(&mut self, now: Instant, session: &str, endpoint: &str) -> Option<Arc<str>> {
        let name = name(session);
        let Some(index) = self.alive(now, &name) else {
            self.insert(now, &name, endpoint);
            return None;
        };
        let before = self.rehome(index, endpoint);
        self.stats.moved += u64::from(*before != *endpoint);
        Some(before)
    }

    /// Forgets a session; whether there was one. Its calls in progress finish.
    pub fn clear(&mut self, now: Instant, session: &str) -> bool {
        let found = self.alive(now, &name(session));
        if let Some(index) = found {
            self.stats.cleared += 1;
            self.remove(index);
        }
        found.is_some()
    }

    /// Forgets every session at this endpoint; how many there were. Linear in all sessions.
    pub fn clear_endpoint(&mut self, endpoint: &str) -> usize {
        let Some(home) = self.homes.find(endpoint) else { return 0 };
        let there = self.shelves.iter_from(0).filter(|(_, entry)| entry.home == home);
        let there: Vec<u32> = there.map(|(index, _)| index).collect();
        there.iter().for_each(|index| self.remove(*index));
        self.stats.cleared += there.len() as u64;
        there.len()
    }

    /// Forgets every session; how many there were. Statistics stay.
    pub fn clear_all(&mut self) -> usize {
        let all: Vec<u32> = self.shelves.iter_from(0).map(|(index, _)| index).collect();
        // One by one, so that tickets of calls in progress name nothing any more.
        all.iter().for_each(|index| self.remove(*index));
        self.stats.cleared += all.len() as u64;
        all.len()
    }

    /// Ends sessions whose time is over, looking at no more than `most` of them; how many it looked at. As long as that is `most`
    /// there may be more.
    pub fn expire(&mut self, now: Instant, most: usize) -> usize {
        let mut looked = 0;
        for shelf in [Shelf::New, Shelf::Proven] {
            while looked < most
                && let Some(index) = self.shelves.oldest(shelf)
                && self.idled_out(now, self.shelves.get(index).used)
            {
                looked += 1;
                if self.shelves.get(index).open > 0 {
                    // It is in use, whatever the time of its last beginning or end.
                    self.shelves.touch(index, shelf, now);
                } else {
                    self.stats.expired += 1;
                    self.remove(index);
                }
            }
        }
        while looked < most
            && let Some(&(created, index)) = self.ages.first()
            && self.aged_out(now, created)
        {
            looked += 1;
            self.stats.expired += 1;
            self.remove(index);
        }
        looked
    }

    /// Sessions remembered, ended ones that are not cleaned up yet included.
    pub fn len(&self) -> usize {
        self.shelves.len()
    }

    /// Whether no session is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened so far.
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// The session of this name, if its time is not over.
    pub(super) fn find(&self, now: Instant, name: &str) -> Option<u32> {
        let index = *self.by_name.get(name)?;
        (!self.over(now, self.shelves.get(index))).then_some(index)
    }

    pub(super) fn over(&self, now: Instant, entry: &Entry) -> bool {
        self.aged_out(now, entry.created) || (entry.open == 0 && self.idled_out(now, entry.used))
    }

    /// As [`find`](Self::find), and ends the session if its time is over.
    fn alive(&mut self, now: Instant, name: &str) -> Option<u32> {
        let index = *self.by_name.get(name)?;
        if self.over(now, self.shelves.get(index)) {
            self.stats.expired += 1;
            self.remove(index);
            return None;
        }
        Some(index)
    }

    fn idled_out(&self, now: Instant, used: Instant) -> bool {
        self.limits.idle_ttl().is_some_and(|ttl| now.saturating_duration_since(used) >= ttl)
    }

    fn aged_out(&self, now: Instant, created: Instant) -> bool {
        self.limits.absolute_ttl().is_some_and(|ttl| now.saturating_duration_since(created) >= ttl)
    }

    fn whereabouts(&self, index: u32) -> (HomeId, Option<HomeId>, SessionTicket) {
        let entry = self.shelves.get(index);
        (entry.home, entry.guest, self.shelves.ticket(index))
    }

    /// A further call of a session begins, which proves it.
    fn begin(&mut self, now: Instant, index: u32) -> SessionTicket {
        self.shelves.get_mut(index).open += 1;
        self.shelves.touch(index, Shelf::Proven, now);
        self.shelves.ticket(index)
    }

    fn insert(&mut self, now: Instant, name: &str, home: &str) -> u32 {
        self.expire(now, CLEANED_PER_PLACED);
        if self.shelves.len() >= self.limits.max_sessions() {
            self.evict();
        }
        let name: Arc<str> = name.into();
        let entry = Entry::new(Arc::clone(&name), self.homes.acquire(home), now, now);
        let index = self.shelves.insert(Shelf::New, entry);
        self.ages.insert((now, index));
        self.by_name.insert(name, index);
        index
    }

    /// Takes over a session of an earlier table, as one used before all that are here.
    pub(super) fn restore(&mut self, now: Instant, record: &SessionRecord, created: Instant, used: Instant) {
        let name = name(&record.session);
        if self.by_name.contains_key(&*name) || self.aged_out(now, created) || self.idled_out(now, used) {
            return;
        }
        let name: Arc<str> = (&*name).into();
        let entry = Entry::new(Arc::clone(&name), self.homes.acquire(&record.endpoint), created, used);
        let proven = record.proven && self.shelves.shelf_len(Shelf::Proven) + self.new_share() < self.limits.max_sessions();
        let index = self.shelves.insert_oldest(if proven { Shelf::Proven } else { Shelf::New }, entry);
        self.ages.insert((created, index));
        self.by_name.insert(name, index);
    }

    /// Makes room for one: see the module on fairness.
    fn evict(&mut self) {
        let (first, second) = match self.shelves.shelf_len(Shelf::New) >= self.new_share() {
            true => (Shelf::New, Shelf::Proven),
            false => (Shelf::Proven, Shelf::New),
        };
        if let Some(index) = self.shelves.oldest(first).or_else(|| self.shelves.oldest(second)) {
            self.stats.evicted += 1;
            self.remove(index);
        }
    }

    /// At least 1, without which a full table of proven sessions would take in no new one.
    fn new_share(&self) -> usize {
        (self.limits.max_sessions() / NEW_SHARE).max(1)
    }

    fn remove(&mut self, index: u32) {
        let entry = self.shelves.remove(index);
        self.by_name.remove(&entry.name);
        self.ages.remove(&(entry.created, index));
        self.homes.release(entry.home);
        if let Some(guest) = entry.guest {
            self.homes.release(guest);
        }
    }

    /// Gives a session another home; returns the old one's name.
    fn rehome(&mut self, index: u32, home: &str) -> Arc<str> {
        let home = self.homes.acquire(home);
        let entry = self.shelves.get_mut(index);
        let (before, guest) = (std::mem::replace(&mut entry.home, home), entry.guest.take());
        let from = Arc::clone(self.homes.name(before));
        self.homes.release(before);
        if let Some(guest) = guest {
            self.homes.release(guest);
        }
        from
    }

    fn take_in(&mut self, index: u32, guest: &str) {
        let guest = self.homes.acquire(guest);
        if let Some(before) = self.shelves.get_mut(index).guest.replace(guest) {
            self.homes.release(before);
        }
    }
}
