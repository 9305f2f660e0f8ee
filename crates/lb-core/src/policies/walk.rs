//! What the hashing policies share: a table of places, each an endpoint's, and the walk along it from the place of a call's hash.
//!
//! An endpoint is not connected before a call needs it. A call whose hash leads to an endpoint that failed goes to the next one on
//! its walk; one that leads to an endpoint which is not connected connects it and waits. A call with a random hash goes to the
//! first READY endpoint on its walk, and at most one endpoint that it passed is connected for those that follow. Later attempts go
//! to the first READY endpoint that was not tried, if there is one. With `hashBalanceFactor` all of that is different: see
//! [`bounded`](super::bounded).
//!
//! The state is, first match: READY if an endpoint is, TRANSIENT_FAILURE if two are, CONNECTING if one is or one failed among
//! several, IDLE if one is, else TRANSIENT_FAILURE. A policy that is CONNECTING or TRANSIENT_FAILURE may get no calls, so it
//! connects one endpoint after the other by itself until one is READY.
//!
//! **Bound.** A walk that ends at the first place costs the table's [`find`](Table::find). While endpoints are not READY it passes
//! their places one by one, at most the whole table.
//!
//! Source: gRFC A42, A61, A76.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::bounded::Bounds;
use super::hash::{CallHash, Hashed};
use super::members::{Member, Members};
use super::petiole::Unready;
use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, Shutdown, TransientFailure};
use crate::pick::{Always, PickArgs, PickError, PickResult, Picker, Score};
use crate::policy::{LbState, Plan, SubchannelView};
use crate::slot::Slot;

/// Places in a circle, each of one member; hashes lead to places.
pub(super) trait Table: fmt::Debug + Send + Sync + 'static {
    /// How many there are; never 0.
    fn places(&self) -> usize;

    /// The place of a hash.
    fn find(&self, hash: u64) -> usize;

    /// Whose place that is.
    fn member(&self, place: usize) -> usize;

    /// The share of all hashes that lead to the place.
    fn width(&self, place: usize) -> f64;
}

/// Every place once, from this one on: the members they belong to.
#[inline]
pub(super) fn members_from<T: Table>(table: &T, start: usize) -> impl Iterator<Item = usize> {
    (start..table.places()).chain(0..start).map(|place| table.member(place))
}

/// The share of all hashes that end at each of `members` when walks stop only where `stops`.
pub(super) fn shares<T: Table>(table: &T, members: usize, stops: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut shares = vec![0.0; members];
    let mut end = None;
    // Backwards, and around once before, to know where walks from the last places end.
    let places = table.places();
    for (round, place) in (0..2).flat_map(|round| (0..places).rev().map(move |place| (round, place))) {
        let member = table.member(place);
        end = if stops(member) { Some(member) } else { end };
        if let (1, Some(end)) = (round, end) {
            shares[end] += table.width(place);
        }
    }
    shares
}

/// What calls see that have no key where one is needed.
pub(super) const MISSING: &str = "the call has no hash key, and the policy no requestHashHeader";

/// The state of a hashing policy between views.
#[derive(Debug)]
pub(super) struct Hashing<T> {
    by: CallHash,
    bounds: Option<Bounds>,
    members: Members,
    table: Option<Arc<T>>,
}

impl<T: Table> Hashing<T> {
    pub(super) fn new(by: CallHash, bounds: Option<Bounds>) -> Self {
        Self { by, bounds, members: Members::default(), table: None }
    }

    /// Decides about a view; `build` makes the table when members have changed.
    pub(super) fn rebuild(
        &mut self,
        now: Instant,
        view: &[SubchannelView],
        plan: &mut Plan,
        build: impl FnOnce(&[Member]) -> T,
    ) -> LbState {
        if view.is_empty() {
            (self.members, self.table) = (Members::default(), None);
            return LbState::new(TransientFailure, Always::fail("there are no endpoints"));
        }
        let changed = self.members.follow(view);
        let table = self.table.take().filter(|_| !changed).unwrap_or_else(|| Arc::new(build(self.members.list())));
        self.table = Some(Arc::clone(&table));
        match &self.bounds {
            Some(bounds) => bounds.rebuild(now, view, plan, &self.members, table, &self.by),
            None => self.lazily(view, plan, table),
        }
    }

    /// The table of the last view.
    #[cfg(test)]
    pub(super) fn table(&self) -> Option<&Arc<T>> {
        self.table.as_ref()
    }

    fn lazily(&self, view: &[SubchannelView], plan: &mut Plan, table: Arc<T>) -> LbState {
        let state = aggregate(view);
        let retried = view.iter().filter(|row| matches!(row.state, Connecting | TransientFailure));
        plan.connect.extend(retried.map(|row| row.slot));
        let connecting = view.iter().any(|row| row.state == Connecting);
        if matches!(state, Connecting | TransientFailure) && !connecting {
            plan.connect.extend(self.members.rows(view).find(|row| row.state == Idle).map(|row| row.slot));
        }
        LbState::new(state, Arc::new(Walk::new(table, self.members.rows(view), self.by.clone())))
    }
}

fn aggregate(view: &[SubchannelView]) -> ConnectivityState {
    let count = |state| view.iter().filter(|row| row.state == state).count();
    match (count(Ready), count(TransientFailure), count(Connecting), count(Idle)) {
        (1.., ..) => Ready,
        (_, 2.., ..) => TransientFailure,
        (_, _, 1.., _) => Connecting,
        (_, 1, ..) if view.len() > 1 => Connecting,
        (.., 1..) => Idle,
        _ => TransientFailure,
    }
}

/// Never without a row that is not excluded.
#[derive(Debug)]
struct Walk<T> {
    table: Arc<T>,
    /// By member.
    rows: Box<[Row]>,
    /// The members that are not READY, sorted.
    unready: Box<[(usize, Unready)]>,
    by: CallHash,
    /// Whether an endpoint was CONNECTING: then random calls wake no other.
    connecting: bool,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    slot: Slot,
    /// `None`: excluded by the call.
    state: Option<ConnectivityState>,
}

impl<T: Table> Walk<T> {
    fn new<'a>(table: Arc<T>, view: impl Iterator<Item = &'a SubchannelView>, by: CallHash) -> Self {
        let mut unready = Vec::new();
        let mut connecting = false;
        let row = |(member, row): (usize, &SubchannelView)| {
            connecting |= row.state == Connecting;
            if row.state != Ready {
                unready.push((member, Unready::of(row)));
            }
            Row { slot: row.slot, state: Some(row.state) }
        };
        let rows = view.enumerate().map(row).collect();
        Self { table, rows, unready: unready.into(), by, connecting }
    }

    #[inline]
    fn rows_from(&self, start: usize) -> impl Iterator<Item = Row> {
        members_from(&*self.table, start).map(|member| self.rows[member])
    }

    /// With a key.
    #[inline]
    fn keyed(&self, start: usize, tried: &[Slot]) -> PickResult {
        let row = self.rows[self.table.member(start)];
        if row.state == Some(Ready) && tried.is_empty() { PickResult::Pick(row.slot) } else { self.walk(start, tried) }
    }

    #[cold]
    fn walk(&self, start: usize, tried: &[Slot]) -> PickResult {
        if let Some(slot) = self.untried(start, tried) {
            return PickResult::Pick(slot);
        }
        let stop = self.rows_from(start).find_map(|row| match row.state? {
            Ready => Some(PickResult::Pick(row.slot)),
            Idle => Some(PickResult::Connect(row.slot)),
            Connecting => Some(PickResult::Queue),
            TransientFailure | Shutdown => None,
        });
        stop.unwrap_or_else(|| self.failure(start))
    }

    /// For later attempts: the first READY endpoint that was not tried.
    fn untried(&self, start: usize, tried: &[Slot]) -> Option<Slot> {
        let is_other = |row: &Row| row.state == Some(Ready) && !tried.contains(&row.slot);
        if tried.is_empty() { None } else { self.rows_from(start).find(is_other).map(|row| row.slot) }
    }

    /// Without a key.
    fn anywhere(&self, start: usize, args: &mut PickArgs<'_>) -> PickResult {
        let mut wake = None;
        let ready = self.rows_from(start).find(|row| {
            if row.state == Some(Idle) && !self.connecting {
                wake.get_or_insert(row.slot);
            }
            row.state == Some(Ready)
        });
        match (ready, wake) {
            (Some(row), wake) => {
                args.connect = wake;
                PickResult::Pick(self.untried(start, args.tried).unwrap_or(row.slot))
            }
            (None, Some(idle)) => PickResult::Connect(idle),
            (None, None) if self.connecting => PickResult::Queue,
            (None, None) => self.failure(start),
        }
    }

    /// The error of the first endpoint on the walk.
    fn failure(&self, start: usize) -> PickResult {
        let members = members_from(&*self.table, start);
        let found = members.filter(|member| self.rows[*member].state.is_some()).find_map(|member| self.unready(member));
        // An endpoint without a place, for its weight or for want of places, is on no walk.
        let found = found.or_else(|| self.unready.first().map(|(_, unready)| unready));
        PickResult::Fail(PickError::new(found.map_or_else(|| "no endpoint has a place".to_owned(), Unready::reason)))
    }

    fn unready(&self, member: usize) -> Option<&Unready> {
        let found = self.unready.binary_search_by_key(&member, |(member, _)| *member).ok()?;
        Some(&self.unready[found].1)
    }

    fn score(&self, member: usize, share: f64, own: f64) -> Score {
        let reason = match self.unready(member) {
            None => format!("READY, {:.1} % of hashes are its own", own * 100.0),
            Some(unready) => unready.reason(),
        };
        let mut score = Score::new(self.rows[member].slot, share, reason);
        score.parts.push(("own_share", own));
        score
    }
}

impl<T: Table> Picker for Walk<T> {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        match self.by.of(args) {
            Hashed::Key(hash) => self.keyed(self.table.find(hash), args.tried),
            Hashed::Random(hash) => self.anywhere(self.table.find(hash), args),
            Hashed::Missing => PickResult::Fail(PickError::new(MISSING)),
        }
    }

    /// Keys stay where they are, except those of endpoints that are left out.
    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let restricted = |row: &Row| Row { state: row.state.filter(|_| keep(row.slot)), ..*row };
        let rows: Box<[Row]> = self.rows.iter().map(restricted).collect();
        if rows.iter().all(|row| row.state.is_none()) {
            return Always::fail("no endpoint passes the call's restrictions");
        }
        let unready = self.unready.iter().filter(|(member, _)| rows[*member].state.is_some()).cloned().collect();
        let connecting = rows.iter().any(|row| row.state == Some(Connecting));
        Arc::new(Self { table: Arc::clone(&self.table), rows, unready, by: self.by.clone(), connecting })
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        let stops = |member: usize| matches!(self.rows[member].state, Some(Ready | Idle | Connecting));
        let shares_of_calls = shares(&*self.table, self.rows.len(), stops);
        let own = shares(&*self.table, self.rows.len(), |_| true);
        let shown = (0..self.rows.len()).filter(|member| self.rows[*member].state.is_some());
        shown.map(|member| self.score(member, shares_of_calls[member], own[member])).collect()
    }
}
