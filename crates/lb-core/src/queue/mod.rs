//! Calls that wait their turn while every endpoint they could go to is at its limit.
//!
//! The queue is a list and the rules of its turns; it knows neither tasks nor endpoints, and the time is an argument. Whoever has a call that
//! found no place [joins](Queue::join); whoever sees a place become free [says so](Queue::freed). That gives one waiting call its
//! *turn*: its task is woken, looks for an endpoint itself, and either [leaves](Queue::serve) with one or
//! [passes](Queue::pass) the turn on to the next that could use the place. So a free place wakes the one call that
//! should have it and no other.
//!
//! **Order.** By priority, the higher first; among equals who came first. Every eighth place
//! ([`oldest_every`](QueueConfig::oldest_every)) goes to the call that has waited longest, whatever its priority, so that the lowest does
//! not starve: a call with n older ones before it gets a turn after at most 8 (n + 1) places that it could use. Within one priority no
//! call is ever overtaken. So that the lowest also get into a queue that the others keep full, one in eight of its places is *open*: taken by
//! whoever comes when the others are taken, and by nobody from them.
//!
//! **No barging.** While a turn is on its way ([`reserved`](Queue::reserved)) a call that has just come must join, too, however free an
//! endpoint looks: the place is somebody's. It gets a look of its own when no turn is left, because there may be places that nobody who
//! waits could use.
//!
//! **Bound.** At most [`max_pending`](QueueConfig::max_pending) calls wait; a further one is refused, unless one of lower priority waits
//! that can be displaced: the newest of the lowest that has no open place. Joining and leaving take log n steps, a free place takes as many as there are calls
//! before the first that can use it.
//!
//! **When not.** Where a limit exists to protect somebody from *waiting* work, such as a human at the other end of a short deadline, fail at once:
//! no queue. A queue evens out bursts; it does not make capacity.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use lb_core::queue::{Queue, QueueConfig, Waiter};
//!
//! /// A call, known by its name, that any place will do for.
//! #[derive(Clone, Debug, PartialEq)]
//! struct Name(&'static str);
//!
//! impl Waiter for Name {
//!     type Place = ();
//!     fn fits(&self, _place: &()) -> bool {
//!         true
//!     }
//!     fn takes_any(&self) -> bool {
//!         true
//!     }
//! }
//!
//! let now = Instant::now();
//! let mut queue = Queue::new(QueueConfig::new(100));
//! let batch = queue.join(now, 0, Name("batch")).unwrap();
//! let user = queue.join(now, 5, Name("user")).unwrap();
//! // Both look once more, in case a place became free meanwhile, and find none.
//! assert!(batch.look && user.look);
//! queue.pass(batch.ticket);
//! queue.pass(user.ticket);
//! assert_eq!(queue.freed(()), Some(Name("user")), "who matters more is woken");
//! queue.serve(user.ticket, now + Duration::from_millis(20), &());
//! assert_eq!(queue.freed(()), Some(Name("batch")));
//! ```
//!
//! Sources: evenkeel's own; priority with a share for the oldest follows the usual cure for starvation in schedulers.

mod config;
mod stats;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::time::{Duration, Instant};

pub use config::QueueConfig;
pub use stats::QueueStats;

/// A call that waits, as its queue sees it. Cloned to wake it, so it should be cheap to clone.
pub trait Waiter: Clone {
    /// A place that became free.
    type Place: Clone + PartialEq + fmt::Debug;

    /// Whether the call could use this place, as far as that can be told without looking.
    fn fits(&self, place: &Self::Place) -> bool;

    /// Whether any place would do. If such a call finds none, nobody behind it would, and its turn ends with it.
    fn takes_any(&self) -> bool;
}

/// The place of a call in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(Reverse<u8>, u64);

/// A call has joined.
#[derive(Debug)]
#[non_exhaustive]
pub struct Joined<W> {
    /// To leave with.
    pub ticket: Ticket,
    /// Whether it has its turn already, and must look (and then pass or leave); else it waits to be woken.
    pub look: bool,
    /// Who had to go for it: no longer in the queue, to be told so.
    pub displaced: Option<W>,
}

/// A call that has its turn has found no place.
#[derive(Debug, PartialEq, Eq)]
pub enum Passed<W> {
    /// Places became free while it looked: it keeps its turn and must look again.
    LookAgain,
    /// It waits on; somebody else may have the turn now and must be woken.
    Wait(Option<W>),
}

/// How a call left the queue without a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Left {
    /// It has waited as long as it may.
    TimedOut,
    /// Its caller went away, its deadline passed, or it fails for another reason.
    GaveUp,
}

/// There is no room for a further call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} calls wait already")]
pub struct QueueFull {
    /// How many wait.
    pub waiting: usize,
}

/// Why somebody looks.
#[derive(Debug, Clone)]
enum Turn<P> {
    /// A place became free.
    Place(P),
    /// Any number may have become free: everybody looks in turn.
    Everybody,
    /// Its own look after it has joined.
    Own,
}

#[derive(Debug)]
struct Called<P> {
    turn: Turn<P>,
    /// Whether a further place became free meanwhile that nobody else was there for.
    again: bool,
}

#[derive(Debug)]
struct Waiting<W: Waiter> {
    since: Instant,
    what: W,
    /// Whether its own look is due.
    fresh: bool,
    /// Whether it has one of the places that are nobody's to claim.
    open: bool,
    called: Option<Called<W::Place>>,
}

/// The queue. See the [module](self).
#[derive(Debug)]
pub struct Queue<W: Waiter> {
    config: QueueConfig,
    joined: u64,
    order: BTreeMap<Ticket, Waiting<W>>,
    /// By number, which is by age.
    ages: BTreeMap<u64, Ticket>,
    /// Places since the oldest had one offered.
    since_oldest: u32,
    /// Turns on their way that stand for free places.
    reserved: usize,
    /// How many have open places.
    open: usize,
    stats: QueueStats,
}

impl<W: Waiter> Queue<W> {
    /// An empty queue.
    pub fn new(config: QueueConfig) -> Self {
        let (order, ages, stats) = (BTreeMap::new(), BTreeMap::new(), QueueStats::default());
        Self { config, joined: 0, order, ages, since_oldest: 0, reserved: 0, open: 0, stats }
    }

    /// What bounds it.
    pub fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// How many calls wait, those that have their turn included.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many turns are on their way that stand for free places. While there are any, a call that has just come must join.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// A call begins to wait.
    ///
    /// # Errors
    /// As many wait as may, and none of them matters less.
    pub fn join(&mut self, now: Instant, priority: u8, what: W) -> Result<Joined<W>, QueueFull> {
        let (open, displaced) = match self.make_room(priority) {
            Ok(room) => room,
            Err(full) => {
                *self.stats.shed.entry(priority).or_default() += 1;
                self.stats.refused += 1;
                return Err(full);
            }
        };
        self.joined += 1;
        let ticket = Ticket(Reverse(priority), self.joined);
        let look = self.reserved == 0;
        let called = look.then_some(Called { turn: Turn::Own, again: false });
        self.order.insert(ticket, Waiting { since: now, what, fresh: !look, open, called });
        self.open += usize::from(open);
        self.ages.insert(ticket.1, ticket);
        Ok(Joined { ticket, look, displaced })
    }

    /// A place became free. Answers whom to wake for it.
    pub fn freed(&mut self, place: W::Place) -> Option<W> {
        self.since_oldest += 1;
        if self.config.oldest_every > 0 && self.since_oldest >= self.config.oldest_every {
            self.since_oldest = 0;
            let can = |ticket: &&Ticket| {
                self.order.get(ticket).is_some_and(|waiting| waiting.called.is_none() && waiting.what.fits(&place))
            };
            if let Some(oldest) = self.ages.values().find(can).copied() {
                return self.call(oldest, Turn::Place(place));
            }
        }
        self.give(Turn::Place(place), None)
    }

    /// Any number of places may have become free: everybody looks in turn, one after the other. Answers whom to wake first.
    pub fn look_all(&mut self) -> Option<W> {
        self.give(Turn::Everybody, None)
    }

    /// A call that has its turn has found no place. One that has none may look, too, and pass.
    pub fn pass(&mut self, ticket: Ticket) -> Passed<W> {
        let Some(waiting) = self.order.get_mut(&ticket) else { return Passed::Wait(None) };
        let any = waiting.what.takes_any();
        match waiting.called.take() {
            Some(Called { turn, again: true }) => {
                waiting.called = Some(Called { turn, again: false });
                Passed::LookAgain
            }
            Some(Called { turn, again: false }) => {
                self.release(&turn);
                let next = if any || matches!(turn, Turn::Own) { None } else { self.give(turn, Some(ticket)) };
                Passed::Wait(next.or_else(|| self.give_own()))
            }
            None => Passed::Wait(None),
        }
    }

    /// A call leaves with this place. Answers whom to wake: if the place is another one than it had its turn for, that one is the next
    /// call's.
    pub fn serve(&mut self, ticket: Ticket, now: Instant, place: &W::Place) -> Option<W> {
        let waiting = self.remove(ticket)?;
        let waited = now.saturating_duration_since(waiting.since);
        self.stats.served += 1;
        self.stats.longest_wait = self.stats.longest_wait.max(waited);
        self.turn_on(waiting, ticket, Some(place))
    }

    /// A call leaves without a place. Answers whom to wake, if it had a turn. Does nothing if it is not in the queue.
    pub fn leave(&mut self, ticket: Ticket, now: Instant, how: Left) -> Option<W> {
        let waiting = self.remove(ticket)?;
        let waited = now.saturating_duration_since(waiting.since);
        self.stats.left(ticket.0.0, waited, how);
        self.turn_on(waiting, ticket, None)
    }

    /// What becomes of the turn of a call that has left.
    fn turn_on(&mut self, waiting: Waiting<W>, ticket: Ticket, used: Option<&W::Place>) -> Option<W> {
        let turn = waiting.called?.turn;
        self.release(&turn);
        let next = match turn {
            Turn::Place(place) if Some(&place) == used => None,
            Turn::Own => None,
            // Whoever stands before it may have come since, or could not use what it had to offer then.
            Turn::Place(_) => self.give(turn, None),
            Turn::Everybody => self.give(turn, Some(ticket)),
        };
        next.or_else(|| self.give_own())
    }

    /// Where a call stands, from 1, in the order of priority; and how many there are.
    pub fn position(&self, ticket: Ticket) -> Option<(usize, usize)> {
        self.order.contains_key(&ticket).then(|| (self.order.range(..ticket).count() + 1, self.len()))
    }

    /// Since when the call has waited that has waited longest.
    pub fn oldest(&self) -> Option<Instant> {
        self.ages.values().next().and_then(|ticket| self.order.get(ticket)).map(|waiting| waiting.since)
    }

    /// The queue at this moment.
    pub fn stats(&self, now: Instant) -> QueueStats {
        let mut stats = self.stats.clone();
        stats.waiting = self.len();
        self.order.keys().for_each(|ticket| *stats.by_priority.entry(ticket.0.0).or_default() += 1);
        stats.oldest = self.oldest().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        stats
    }

    /// Whether a call of this priority gets an open place, and who has to go for it: the newest of the lowest priority, if that is lower than
    /// this one and there is no room. Who has a turn or an open place stays.
    fn make_room(&mut self, priority: u8) -> Result<(bool, Option<W>), QueueFull> {
        let (waiting, open) = (self.len(), self.config.open_places());
        if waiting - self.open < self.config.max_pending - open {
            return Ok((false, None));
        }
        if self.open < open {
            return Ok((true, None));
        }
        let mut last = self.order.iter().rev().take_while(|(ticket, _)| ticket.0.0 < priority);
        let stays = |waiting: &Waiting<W>| waiting.called.is_some() || waiting.open;
        let ticket = last.find(|(_, waiting)| !stays(waiting)).map(|(ticket, _)| *ticket);
        let displaced = ticket.and_then(|ticket| self.remove(ticket)).ok_or(QueueFull { waiting })?;
        *self.stats.shed.entry(ticket.map_or(0, |ticket| ticket.0.0)).or_default() += 1;
        self.stats.displaced += 1;
        Ok((false, Some(displaced.what)))
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiting<W>> {
        self.ages.remove(&ticket.1);
        let waiting = self.order.remove(&ticket)?;
        self.open -= usize::from(waiting.open);
        Some(waiting)
    }

    /// Gives a turn to the first behind `after` that it concerns. If there is nobody but some who look already, they look again.
    fn give(&mut self, turn: Turn<W::Place>, after: Option<Ticket>) -> Option<W> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let free = |(_, waiting): &(&Ticket, &Waiting<W>)| waiting.called.is_none() && turn.concerns(waiting);
        if let Some(ticket) = self.order.range(behind).find(free).map(|(ticket, _)| *ticket) {
            return self.call(ticket, turn);
        }
        if !matches!(turn, Turn::Own) {
            for waiting in self.order.values_mut().filter(|waiting| turn.concerns(waiting)) {
                waiting.called.iter_mut().for_each(|called| called.again = true);
            }
        }
        None
    }

    /// The look that one owes who came while places were reserved.
    fn give_own(&mut self) -> Option<W> {
        if self.reserved > 0 { None } else { self.give(Turn::Own, None) }
    }

    fn call(&mut self, ticket: Ticket, turn: Turn<W::Place>) -> Option<W> {
        let waiting = self.order.get_mut(&ticket)?;
        self.reserved += usize::from(turn.reserves());
        waiting.fresh = false;
        waiting.called = Some(Called { turn, again: false });
        Some(waiting.what.clone())
    }

    fn release(&mut self, turn: &Turn<W::Place>) {
        self.reserved -= usize::from(turn.reserves());
    }
}

impl<P: Clone> Turn<P> {
    fn reserves(&self) -> bool {
        !matches!(self, Self::Own)
    }

    fn concerns<W: Waiter<Place = P>>(&self, waiting: &Waiting<W>) -> bool {
        match self {
            Self::Place(place) => waiting.what.fits(place),
            Self::Everybody => true,
            Self::Own => waiting.fresh,
        }
    }
}

impl QueueStats {
    fn left(&mut self, priority: u8, waited: Duration, how: Left) {
        match how {
            Left::TimedOut => {
                self.longest_wait = self.longest_wait.max(waited);
                self.timed_out += 1;
                *self.shed.entry(priority).or_default() += 1;
            }
            Left::GaveUp => self.gave_up += 1,
        }
    }
}
