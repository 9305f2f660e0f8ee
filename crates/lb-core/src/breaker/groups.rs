//! Which methods share a breaker.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use crate::policy::ConfigError;

/// Which methods share a breaker. Failures of a group open its breaker alone, so groups should be what breaks together: one database
/// behind some methods, another behind others.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum MethodGroups {
    /// All methods of an endpoint.
    #[default]
    One,
    /// Those of a service, such as `orders.v1.Orders`.
    PerService,
    /// Each for itself, such as `orders.v1.Orders/Place`. Rarely called methods then rarely open theirs.
    PerMethod,
    /// As this function says; see [`by`](Self::by).
    By(GroupFn),
}

/// From a path such as `/orders.v1.Orders/Place` to the name of its group.
#[derive(Clone)]
pub struct GroupFn(Arc<Grouping>);

type Grouping = dyn for<'a> Fn(&'a str) -> &'a str + Send + Sync;

impl MethodGroups {
    /// As `group` says: from a path such as `/orders.v1.Orders/Place` to a name, which may be a part of the path. Runs in every call.
    ///
    /// ```
    /// use lb_core::breaker::MethodGroups;
    ///
    /// let groups = MethodGroups::by(|path| if path.ends_with("/Search") { "slow" } else { "quick" });
    /// ```
    pub fn by(group: impl for<'a> Fn(&'a str) -> &'a str + Send + Sync + 'static) -> Self {
        Self::By(GroupFn(Arc::new(group)))
    }

    pub(super) fn from_json(value: &Value) -> Result<Self, ConfigError> {
        match value.as_str() {
            Some("ALL") => Ok(Self::One),
            Some("SERVICE") => Ok(Self::PerService),
            Some("METHOD") => Ok(Self::PerMethod),
            _ => Err(ConfigError::new("circuitBreaker.methodGroups", value, "\"ALL\", \"SERVICE\" or \"METHOD\"")),
        }
    }

    /// The name of a path's group; `None` is the one of all.
    #[inline]
    fn name<'a>(&self, path: &'a str) -> Option<&'a str> {
        let short = || path.strip_prefix('/').unwrap_or(path);
        match self {
            Self::One => None,
            Self::PerService => Some(short().rsplit_once('/').map_or_else(short, |(service, _)| service)),
            Self::PerMethod => Some(short()),
            Self::By(group) => Some((group.0)(path)),
        }
    }
}

/// Functions are the same if they are clones.
impl PartialEq for MethodGroups {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One, Self::One) | (Self::PerService, Self::PerService) | (Self::PerMethod, Self::PerMethod) => true,
            (Self::By(one), Self::By(other)) => Arc::ptr_eq(&one.0, &other.0),
            _ => false,
        }
    }
}

impl fmt::Debug for MethodGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "One",
            Self::PerService => "PerService",
            Self::PerMethod => "PerMethod",
            Self::By(_) => "By(..)",
        })
    }
}

impl fmt::Debug for GroupFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupFn")
    }
}

/// The groups that calls have brought so far, with a number each. Grows up to its bound and never shrinks, so that a look takes no lock: a
/// hash, a load and a comparison.
#[derive(Debug)]
pub(super) struct GroupTable {
    groups: MethodGroups,
    /// Twice as many as there may be groups, so that a search ends soon.
    buckets: Box<[OnceLock<Known>]>,
    count: AtomicUsize,
    max: usize,
    all: Arc<str>,
}

#[derive(Debug)]
struct Known {
    hash: u64,
    name: Arc<str>,
}

impl GroupTable {
    /// The number of the group of all, and of those for which there was no room.
    pub(super) const ALL: usize = 0;

    pub(super) fn new(groups: MethodGroups, max: usize) -> Self {
        let size = if matches!(groups, MethodGroups::One) { 0 } else { (2 * max).next_power_of_two() };
        let buckets = (0..size).map(|_| OnceLock::new()).collect();
        Self { groups, buckets, count: AtomicUsize::new(0), max, all: "*".into() }
    }

    /// Whether it puts methods into groups as these do.
    pub(super) fn is_by(&self, groups: &MethodGroups, max: usize) -> bool {
        self.groups == *groups && (self.max == max || matches!(groups, MethodGroups::One))
    }

    /// Numbers are below this.
    pub(super) fn size(&self) -> usize {
        self.buckets.len() + 1
    }

    /// The number of a path's group.
    #[inline]
    pub(super) fn of_path(&self, path: &str) -> usize {
        self.groups.name(path).map_or(Self::ALL, |name| self.find(name, true).unwrap_or(Self::ALL))
    }

    /// The number of the group of this name, if there is one.
    pub(super) fn of_name(&self, name: &str) -> Option<usize> {
        if *name == *self.all { Some(Self::ALL) } else { self.find(name, false) }
    }

    /// The number of the group of this name, which is made if there is room; `None` if there is not.
    pub(super) fn made(&self, name: &str) -> Option<usize> {
        if *name == *self.all { Some(Self::ALL) } else { self.find(name, true) }
    }

    /// The name of a group.
    pub(super) fn name(&self, number: usize) -> &Arc<str> {
        number.checked_sub(1).and_then(|bucket| self.buckets.get(bucket)?.get()).map_or(&self.all, |known| &known.name)
    }

    #[inline]
    fn find(&self, name: &str, make: bool) -> Option<usize> {
        let hash = xxh64(name.as_bytes(), 0);
        let mask = self.buckets.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        for _ in 0..self.buckets.len() {
            let known = match self.buckets[at].get() {
                Some(known) => known,
                None if make => return self.insert(at, hash, name),
                None => return None,
            };
            if known.hash == hash && *known.name == *name {
                return Some(at + 1);
            }
            at = (at + 1) & mask;
        }
        None
    }

    #[cold]
    fn insert(&self, mut at: usize, hash: u64, name: &str) -> Option<usize> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut ours = Known { hash, name: name.into() };
        // Another task may fill a bucket meanwhile, perhaps with the same. There are more buckets than groups, so this ends.
        loop {
            match self.buckets[at].set(ours) {
                Ok(()) => return Some(at + 1),
                Err(refused) => ours = refused,
            }
            if self.buckets[at].get().is_some_and(|theirs| theirs.hash == hash && *theirs.name == *name) {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Some(at + 1);
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups() {
        let path = "/orders.v1.Orders/Place";
        assert_eq!(MethodGroups::One.name(path), None);
        assert_eq!(MethodGroups::PerService.name(path), Some("orders.v1.Orders"));
        assert_eq!(MethodGroups::PerMethod.name(path), Some("orders.v1.Orders/Place"));
        assert_eq!(MethodGroups::by(|path| path.rsplit('/').next().unwrap_or(path)).name(path), Some("Place"));
        assert_eq!(MethodGroups::PerService.name("odd"), Some("odd"), "no path of gRPC's");
        assert_eq!(MethodGroups::PerService.name(""), Some(""));
    }

    #[test]
    fn groups_are_bounded_and_those_beyond_share_one() {
        let table = GroupTable::new(MethodGroups::PerMethod, 3);
        let numbers: Vec<usize> = ["/a/1", "/a/2", "/a/3", "/a/4", "/a/5", "/a/2"].map(|path| table.of_path(path)).into();
        assert!(numbers[..3].iter().all(|number| (1..table.size()).contains(number)), "{numbers:?}");
        assert_eq!((numbers[3], numbers[4], numbers[5]), (GroupTable::ALL, GroupTable::ALL, numbers[1]));
        assert_eq!((&**table.name(numbers[0]), &**table.name(GroupTable::ALL)), ("a/1", "*"));
        assert_eq!((table.of_name("a/3"), table.of_name("a/4"), table.of_name("*")), (Some(numbers[2]), None, Some(0)));
        assert_eq!((table.made("a/9"), table.made("a/1")), (None, Some(numbers[0])));
    }

    #[test]
    fn one_group_needs_no_table() {
        let table = GroupTable::new(MethodGroups::One, 64);
        assert_eq!((table.size(), table.of_path("/a/b"), table.of_name("a"), table.made("a")), (1, 0, None, None));
    }

    #[test]
    fn many_at_once_agree_on_the_numbers() {
        let table = GroupTable::new(MethodGroups::PerMethod, 40);
        let numbers = || (0..60).map(|name| table.of_path(&format!("/s/{name}"))).collect::<Vec<_>>();
        let seen: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(numbers)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let last = numbers();
        assert!(last.iter().filter(|number| **number != GroupTable::ALL).count() <= 40);
        for numbers in seen {
            let agree = |(one, other): (&usize, &usize)| one == other || *one == GroupTable::ALL;
            assert!(numbers.iter().zip(&last).all(agree));
        }
    }
}
