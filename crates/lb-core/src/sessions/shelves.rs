//! Where entries live: one array, and through it two lists in order of use, new sessions and proven ones.
//!
//! Invariants: an entry is on exactly the list its `shelf` names; `older` and `newer` of neighbours agree; `len` of a list is how many
//! are on it; an index is used again only with a higher generation, so that a ticket never names another session.

use std::sync::Arc;
use std::time::Instant;

use super::homes::HomeId;

/// Which list an entry is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// Had one call.
    New = 0,
    /// Had more.
    Proven = 1,
}

/// Names one session of one table for as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionTicket {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// One session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) home: HomeId,
    pub(super) guest: Option<HomeId>,
    pub(super) created: Instant,
    /// When its last call began or ended.
    pub(super) used: Instant,
    /// Calls in progress.
    pub(super) open: u32,
    shelf: Shelf,
    older: Option<u32>,
    newer: Option<u32>,
}

impl Entry {
    pub(super) fn new(name: Arc<str>, home: HomeId, created: Instant, used: Instant) -> Self {
        Self { name, home, guest: None, created, used, open: 0, shelf: Shelf::New, older: None, newer: None }
    }

    pub(super) fn proven(&self) -> bool {
        self.shelf == Shelf::Proven
    }
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Debug, Default)]
struct List {
    oldest: Option<u32>,
    newest: Option<u32>,
    len: usize,
}

#[derive(Debug, Default)]
pub(super) struct Shelves {
    places: Vec<Place>,
    free: Vec<u32>,
    lists: [List; 2],
}

impl Shelves {
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len).sum()
    }

    pub(super) fn shelf_len(&self, shelf: Shelf) -> usize {
        self.lists[shelf as usize].len
    }

    /// Adds an entry as the one used last.
    pub(super) fn insert(&mut self, shelf: Shelf, entry: Entry) -> u32 {
        let index = self.hold(entry);
        self.link_newest(shelf, index);
        index
    }

    /// Adds an entry as the one used longest ago.
    pub(super) fn insert_oldest(&mut self, shelf: Shelf, entry: Entry) -> u32 {
        let index = self.hold(entry);
        let second = self.lists[shelf as usize].oldest;
        let entry = self.get_mut(index);
        (entry.shelf, entry.older, entry.newer) = (shelf, None, second);
        match second {
            Some(second) => self.get_mut(second).older = Some(index),
            None => self.lists[shelf as usize].newest = Some(index),
        }
        self.lists[shelf as usize].oldest = Some(index);
        self.lists[shelf as usize].len += 1;
        index
    }

    /// Makes an entry the one used last of a shelf, which may be another than it was on.
    pub(super) fn touch(&mut self, index: u32, shelf: Shelf, now: Instant) {
        self.get_mut(index).used = now;
        if self.get(index).shelf == shelf && self.lists[shelf as usize].newest == Some(index) {
            return;
        }
        self.unlink(index);
        self.link_newest(shelf, index);
    }

    /// The entry of a shelf that was used longest ago.
    pub(super) fn oldest(&self, shelf: Shelf) -> Option<u32> {
        self.lists[shelf as usize].oldest
    }

    pub(super) fn remove(&mut self, index: u32) -> Entry {
        self.unlink(index);
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        place.entry.take().expect("an entry is on a list while it exists")
    }

    pub(super) fn get(&self, index: u32) -> &Entry {
        self.places[index as usize].entry.as_ref().expect("indexes come from lists and maps of entries that exist")
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut Entry {
        self.places[index as usize].entry.as_mut().expect("indexes come from lists and maps of entries that exist")
    }

    pub(super) fn ticket(&self, index: u32) -> SessionTicket {
        SessionTicket { index, generation: self.places[index as usize].generation }
    }

    /// The entry a ticket names, if it still exists.
    pub(super) fn held(&self, ticket: SessionTicket) -> Option<&Entry> {
        let place = self.places.get(ticket.index as usize)?;
        place.entry.as_ref().filter(|_| place.generation == ticket.generation)
    }

    pub(super) fn shelf(&self, index: u32) -> Shelf {
        self.get(index).shelf
    }

    /// Every entry from a place on, with its index; the order of places, which does not change while an entry exists.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = (u32, &Entry)> {
        // Places are fewer than 2^32.
        let places = self.places.iter().enumerate().skip(start);
        places.filter_map(|(index, place)| place.entry.as_ref().map(|entry| (index as u32, entry)))
    }

    fn hold(&mut self, entry: Entry) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.places[index as usize].entry = Some(entry);
                index
            }
            None => {
                self.places.push(Place { generation: 0, entry: Some(entry) });
                u32::try_from(self.places.len() - 1).expect("sessions are fewer than 2^24")
            }
        }
    }

    fn link_newest(&mut self, shelf: Shelf, index: u32) {
        let second = self.lists[shelf as usize].newest;
        let entry = self.get_mut(index);
        (entry.shelf, entry.older, entry.newer) = (shelf, second, None);
        match second {
            Some(second) => self.get_mut(second).newer = Some(index),
            None => self.lists[shelf as usize].oldest = Some(index),
        }
        self.lists[shelf as usize].newest = Some(index);
        self.lists[shelf as usize].len += 1;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { shelf, older, newer, .. } = *self.get(index);
        match older {
            Some(older) => self.get_mut(older).newer = newer,
            None => self.lists[shelf as usize].oldest = newer,
        }
        match newer {
            Some(newer) => self.get_mut(newer).older = older,
            None => self.lists[shelf as usize].newest = older,
        }
        self.lists[shelf as usize].len -= 1;
    }
}
