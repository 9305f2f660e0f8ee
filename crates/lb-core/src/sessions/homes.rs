//! The endpoints that sessions are at, each name kept once.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Index of a home; valid while something refers to it.
pub(super) type HomeId = u32;

/// Invariant: `places[id]` holds a home exactly while its `references` is above 0, and `by_name` maps exactly those.
#[derive(Debug, Default)]
pub(super) struct Homes {
    by_name: BTreeMap<Arc<str>, HomeId>,
    places: Vec<Option<Home>>,
    free: Vec<HomeId>,
}

#[derive(Debug)]
struct Home {
    name: Arc<str>,
    references: u32,
}

impl Homes {
    /// One more reference to the home of this name.
    pub(super) fn acquire(&mut self, name: &str) -> HomeId {
        if let Some(&id) = self.by_name.get(name) {
            self.home_mut(id).references += 1;
            return id;
        }
        let name: Arc<str> = name.into();
        let home = Some(Home { name: Arc::clone(&name), references: 1 });
        let id = match self.free.pop() {
            Some(id) => {
                self.places[id as usize] = home;
                id
            }
            None => {
                self.places.push(home);
                // Two for each session at the most, and sessions are fewer than 2^24.
                (self.places.len() - 1) as HomeId
            }
        };
        self.by_name.insert(name, id);
        id
    }

    /// One reference less.
    pub(super) fn release(&mut self, id: HomeId) {
        let home = self.home_mut(id);
        home.references -= 1;
        if home.references == 0
            && let Some(home) = self.places[id as usize].take()
        {
            self.by_name.remove(&home.name);
            self.free.push(id);
        }
    }

    pub(super) fn name(&self, id: HomeId) -> &Arc<str> {
        &self.places[id as usize].as_ref().expect("whoever has an id holds a reference").name
    }

    /// The home of this name, if a session is there.
    pub(super) fn find(&self, name: &str) -> Option<HomeId> {
        self.by_name.get(name).copied()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    fn home_mut(&mut self, id: HomeId) -> &mut Home {
        self.places[id as usize].as_mut().expect("whoever has an id holds a reference")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_while_something_refers_to_it() {
        let mut homes = Homes::default();
        let (a, again, b) = (homes.acquire("a"), homes.acquire("a"), homes.acquire("b"));
        assert_eq!((a, homes.len()), (again, 2));
        homes.release(a);
        assert_eq!((&**homes.name(a), homes.find("a")), ("a", Some(a)));
        homes.release(a);
        assert_eq!((homes.find("a"), homes.len()), (None, 1));
        assert_eq!(homes.acquire("c"), a, "the index is used again");
        assert_eq!((&**homes.name(b), &**homes.name(a)), ("b", "c"));
    }
}
