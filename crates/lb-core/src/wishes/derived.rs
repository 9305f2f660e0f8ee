//! What one generation remembers for the calls that have wishes.
//!
//! Everything here is built when a call first needs it, read without a lock, and thrown away with its generation. Nothing is removed
//! before that, so that a reader needs no count of references: a look-up is a hash, a load and a comparison.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::attributes::Locality;
use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;
use crate::hints::PickHints;
use crate::pick::Picker;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::snapshot::{Row, Snapshot};

use super::condition::{is_called, is_within, misfit};
use super::gauge::Gauges;
use super::names::{Fold, Names};
use super::nearest::Places;

/// The most distinct constraints remembered per generation. A call that brings a further one is served without a picker of its own.
pub(super) const MAX_DERIVED: usize = 128;

/// Twice as many, so that a search ends soon; and as many again behind them, so that it never has to begin at the front.
const BUCKETS: usize = 2 * MAX_DERIVED;

type Bucket = OnceLock<Box<Entry>>;

/// What one generation remembers.
#[derive(Default)]
pub(crate) struct Derived {
    entries: OnceLock<Box<[Bucket]>>,
    count: AtomicUsize,
    gauges: OnceLock<Gauges>,
    names: OnceLock<Names>,
    /// By how many parts of a locality count.
    places: [OnceLock<Places>; 3],
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").field("entries", &self.count).finish_non_exhaustive()
    }
}

/// A group of endpoints that calls ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Which of the snapshot's pickers.
    pub(super) policy: usize,
    pub(super) hints: &'a PickHints,
    pub(super) place: Place<'a>,
}

/// Which of the endpoints that meet the conditions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place<'a> {
    Anywhere,
    /// Those the call prefers by name.
    Preferred,
    Within(&'a Locality),
}

impl Place<'_> {
    pub(super) fn holds(self, hints: &PickHints, row: &Row) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Preferred => hints.prefer.iter().any(|name| is_called(&row.view.endpoint, name)),
            Self::Within(wanted) => is_within(&row.view.endpoint.attributes.locality, wanted),
        }
    }
}

/// A constraint, and the picker for it.
#[derive(Debug)]
pub(super) struct Entry {
    hash: u64,
    pub(super) policy: usize,
    pub(super) pin: Option<EndpointKey>,
    pub(super) exclude: SmallVec<[EndpointKey; 2]>,
    pub(super) require: SmallVec<[Arc<str>; 2]>,
    pub(super) prefer: SmallVec<[EndpointKey; 2]>,
    pub(super) locality: Option<Locality>,
    /// `None` if no endpoint meets the constraint.
    pub(super) picker: Option<Arc<dyn Picker>>,
    /// Those of them that are READY, as indexes of gauges.
    pub(super) members: Box<[u32]>,
}

impl Wanted<'_> {
    #[inline]
    fn hash(&self) -> u64 {
        let mut fold = Fold::new(self.policy as u64);
        self.hints.require.iter().for_each(|word| fold.text(word));
        fold.mark();
        self.hints.exclude.iter().for_each(|name| fold.text(name.as_str()));
        fold.mark();
        self.hints.pin.iter().for_each(|name| fold.text(name.as_str()));
        match self.place {
            Place::Anywhere => {}
            Place::Preferred => {
                fold.mark();
                self.hints.prefer.iter().for_each(|name| fold.text(name.as_str()));
            }
            Place::Within(place) => [&place.region, &place.zone, &place.sub_zone].into_iter().for_each(|part| fold.text(part)),
        }
        fold.0
    }

    #[inline]
    fn is(&self, entry: &Entry) -> bool {
        let place = match self.place {
            Place::Anywhere => entry.prefer.is_empty() && entry.locality.is_none(),
            Place::Preferred => entry.prefer == self.hints.prefer,
            Place::Within(place) => entry.locality.as_ref() == Some(place),
        };
        place
            && entry.policy == self.policy
            && entry.require == self.hints.require
            && entry.exclude == self.hints.exclude
            && entry.pin == self.hints.pin
    }

    /// Linear in the endpoints.
    fn build(&self, snapshot: &Snapshot, hash: u64) -> Entry {
        let mut kept = vec![false; slots(&snapshot.rows)];
        let mut members = Vec::new();
        let fits = |row: &&Row| self.place.holds(self.hints, row) && misfit(self.hints, row).is_none();
        for row in snapshot.rows.iter().filter(fits) {
            kept[row.view.slot.index()] = true;
            if row.view.state == ConnectivityState::Ready {
                members.push(row.view.slot.index() as u32);
            }
        }
        let picker = snapshot.pickers.get(self.policy).filter(|_| kept.contains(&true));
        let keep = |slot: Slot| kept.get(slot.index()).copied().unwrap_or_default();
        let (prefer, locality) = match self.place {
            Place::Anywhere => (SmallVec::new(), None),
            Place::Preferred => (self.hints.prefer.clone(), None),
            Place::Within(place) => (SmallVec::new(), Some(place.clone())),
        };
        Entry {
            hash,
            policy: self.policy,
            pin: self.hints.pin.clone(),
            exclude: self.hints.exclude.clone(),
            require: self.hints.require.clone(),
            prefer,
            locality,
            picker: picker.map(|named| named.picker.restrict(&keep)),
            members: members.into(),
        }
    }
}

impl Derived {
    /// The entry for a constraint that this channel clone has met before; `None` if it has to be [looked for](Self::entry).
    #[inline]
    pub(super) fn recall(&self, wanted: &Wanted<'_>, scratch: &Scratch) -> Option<&Entry> {
        let bucket = self.entries.get()?.get(scratch.noted(wanted.trace()))?;
        bucket.get().map(|entry| &**entry).filter(|entry| wanted.is_clone(entry))
    }

    /// The entry for a constraint, built if it is not there; `None` if there is no room for it.
    pub(super) fn entry(&self, snapshot: &Snapshot, wanted: Wanted<'_>, scratch: &mut Scratch) -> Option<&Entry> {
        let all = self.entries.get_or_init(|| (0..BUCKETS + MAX_DERIVED).map(|_| OnceLock::new()).collect());
        let hash = wanted.hash();
        let first = hash as usize % BUCKETS;
        let buckets = &all[first..];
        for (position, bucket) in buckets.iter().enumerate() {
            match bucket.get() {
                Some(entry) if entry.hash == hash && wanted.is(entry) => {
                    scratch.note(wanted.trace(), first + position);
                    return Some(entry);
                }
                Some(_) => {}
                None => return self.insert(buckets, snapshot, wanted, hash),
            }
        }
        None
    }

    #[cold]
    fn insert<'s>(&'s self, buckets: &'s [Bucket], snapshot: &Snapshot, wanted: Wanted<'_>, hash: u64) -> Option<&'s Entry> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= MAX_DERIVED {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut entry = Box::new(wanted.build(snapshot, hash));
        // Another task may fill a bucket meanwhile, perhaps with the same.
        for bucket in buckets {
            match bucket.set(entry) {
                Ok(()) => return bucket.get().map(|entry| &**entry),
                Err(_) if bucket.get().is_some_and(|theirs| theirs.hash == hash && wanted.is(theirs)) => {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return bucket.get().map(|entry| &**entry);
                }
                Err(ours) => entry = ours,
            }
        }
        None
    }

    /// How many constraints are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What calls that ask for room look at.
    #[inline]
    pub(super) fn gauges(&self, rows: &[Row]) -> &Gauges {
        self.gauges.get_or_init(|| Gauges::new(rows, slots(rows)))
    }

    /// Endpoints by their names.
    #[inline]
    pub(super) fn names(&self, rows: &[Row]) -> &Names {
        self.names.get_or_init(|| Names::new(rows))
    }

    /// The localities there are, told apart by so many parts: 1 to 3.
    pub(super) fn places(&self, rows: &[Row], parts: usize) -> &Places {
        self.places[parts - 1].get_or_init(|| Places::new(rows, parts))
    }
}

/// How many places a table by slot index needs.
fn slots(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.view.slot.index() + 1).max().unwrap_or(0)
}
