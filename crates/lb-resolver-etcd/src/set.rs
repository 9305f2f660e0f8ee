//! The keys below a name, as they are known.
//!
//! Kept by key and not by endpoint: two keys may say the same, and then the one written last counts.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use lb_core::Endpoint;
use lb_core::EndpointKey;
use lb_core::ResolverUpdate;

use crate::config::EtcdConfig;
use crate::failure::Cause;
use crate::failure::Failure;
use crate::value;
use crate::wire::KeyValue;

/// Beside its key and value an entry takes about this much memory.
const ENTRY_BYTES: usize = 256;

/// What a set may not exceed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    endpoints: usize,
    bytes: usize,
}

impl Limits {
    pub(crate) fn of(config: &EtcdConfig) -> Self {
        Self { endpoints: config.max_endpoints, bytes: config.max_bytes }
    }
}

/// One key.
#[derive(Debug, Clone)]
struct Entry {
    mod_revision: i64,
    bytes: usize,
    /// An endpoint, or why the value is none.
    value: Result<Endpoint, Arc<str>>,
}

/// All keys below a name.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    limits: Limits,
    entries: BTreeMap<Vec<u8>, Entry>,
    bytes: usize,
}

impl Set {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, entries: BTreeMap::new(), bytes: 0 }
    }

    /// Adds or replaces a key. `known` is the set before this one, if any, so that the same fault is not logged twice.
    pub(crate) fn put(&mut self, pair: KeyValue, known: Option<&Self>) -> Result<(), Failure> {
        let before = self.remove(&pair.key);
        let bytes = pair.key.len() + pair.value.len();
        let value = value::parse(&pair.value).map_err(Arc::from);
        if let Err(error) = &value {
            let before = before.as_ref().or_else(|| known?.entries.get(&pair.key));
            if !matches!(before, Some(Entry { value: Err(said), .. }) if said == error) {
                tracing::warn!(key = name(&pair.key), %error, "value skipped");
            }
        }
        self.bytes += bytes + ENTRY_BYTES;
        self.entries.insert(pair.key, Entry { mod_revision: pair.mod_revision, bytes, value });
        self.check()
    }

    /// Removes a key, if it is there.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.remove(key);
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= entry.bytes + ENTRY_BYTES;
        Some(entry)
    }

    fn check(&self) -> Result<(), Failure> {
        let (Limits { endpoints, bytes }, found) = (self.limits, self.entries.len());
        if found > endpoints {
            return Err(Failure::new(Cause::Malformed, format!("there are more than {endpoints} keys, the most that are allowed")));
        }
        if self.bytes > bytes {
            return Err(Failure::new(
                Cause::Malformed,
                format!("{found} keys take more than {bytes} bytes, the most that are allowed"),
            ));
        }
        Ok(())
    }

    /// The endpoints, in the order of their keys. Keys of which none can be read are no answer, and not an empty one.
    pub(crate) fn update(&self, prefix: &str) -> Result<ResolverUpdate, Failure> {
        let mut bad = self.entries.iter().filter_map(|(key, entry)| Some((key, entry.value.as_ref().err()?)));
        let first_bad = bad.next().map(|(key, error)| format!("{}: {error}", name(key)));
        let skipped = first_bad.iter().len() + bad.count();
        let endpoints = self.endpoints();
        match first_bad {
            Some(first) if endpoints.is_empty() => {
                let message = format!("none of the {skipped} values below {prefix:?} can be read; {first}");
                Err(Failure::new(Cause::Malformed, message))
            }
            Some(first) => {
                let note = format!("{skipped} of {} values below {prefix:?} in etcd skipped; {first}", self.entries.len());
                Ok(ResolverUpdate::new(endpoints).with_note(note))
            }
            None if endpoints.is_empty() => {
                Ok(ResolverUpdate::new(endpoints).with_note(format!("etcd has no keys below {prefix:?}")))
            }
            None => Ok(ResolverUpdate::new(endpoints)),
        }
    }

    /// What identifies its endpoints.
    pub(crate) fn keys(&self) -> HashSet<EndpointKey> {
        self.good().map(|(_, endpoint)| endpoint.key().clone()).collect()
    }

    /// Whether all of these are in it.
    pub(crate) fn covers(&self, wanted: &HashSet<EndpointKey>) -> bool {
        self.keys().is_superset(wanted)
    }

    fn good(&self) -> impl Iterator<Item = (i64, &Endpoint)> {
        self.entries.values().filter_map(|entry| Some((entry.mod_revision, entry.value.as_ref().ok()?)))
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let mut latest: HashMap<&EndpointKey, i64> = HashMap::new();
        for (revision, endpoint) in self.good() {
            let known = latest.entry(endpoint.key()).or_insert(revision);
            *known = (*known).max(revision);
        }
        let mut taken = HashSet::new();
        // Two keys written by one transaction have the same revision; the first of them counts.
        let counts = |(revision, endpoint): &(i64, &Endpoint)| {
            latest.get(endpoint.key()) == Some(revision) && taken.insert(endpoint.key().clone())
        };
        self.good().filter(counts).map(|(_, endpoint)| endpoint.clone()).collect()
    }
}

/// A key for people.
fn name(key: &[u8]) -> String {
    value::quoted(&String::from_utf8_lossy(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(endpoints: usize, bytes: usize) -> Set {
        Set::new(Limits { endpoints, bytes })
    }

    fn pair(key: &str, value: &str, mod_revision: i64) -> KeyValue {
        KeyValue { key: key.into(), value: value.into(), mod_revision }
    }

    fn addresses(set: &Set) -> Vec<String> {
        set.update("a/").unwrap().endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect()
    }

    #[test]
    fn keys_come_change_and_go() {
        let mut set = set(9, 9999);
        set.put(pair("a/2", "b:1", 2), None).unwrap();
        set.put(pair("a/1", "a:1", 3), None).unwrap();
        assert_eq!(addresses(&set), ["a:1", "b:1"]);
        set.put(pair("a/1", "c:1", 4), None).unwrap();
        assert_eq!(addresses(&set), ["c:1", "b:1"]);
        set.delete(b"a/1");
        set.delete(b"a/2");
        set.delete(b"a/2");
        assert_eq!((addresses(&set).len(), set.bytes), (0, 0));
        assert!(set.update("a/").unwrap().note.unwrap().contains("no keys below \"a/\""));
    }

    #[test]
    fn of_two_keys_with_one_endpoint_the_one_written_last_counts() {
        let mut set = set(9, 9999);
        set.put(pair("a/1", r#"{"address":"a:1","weight":5}"#, 7), None).unwrap();
        set.put(pair("a/2", r#"{"address":"a:1","weight":6}"#, 3), None).unwrap();
        set.put(pair("a/3", r#"{"address":"a:1","weight":7}"#, 7), None).unwrap();
        let endpoints = set.update("a/").unwrap().endpoints;
        assert_eq!(endpoints.iter().map(|endpoint| endpoint.attributes.weight).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn bad_values_are_told_and_the_rest_is_used_but_nothing_is_no_answer() {
        let mut set = set(9, 9999);
        set.put(pair("a/1", "nonsense", 1), None).unwrap();
        let failure = set.update("a/").unwrap_err();
        assert!(failure.cause == Cause::Malformed && failure.message.contains("none of the 1 values"), "{failure:?}");
        set.put(pair("a/2", "b:1", 2), None).unwrap();
        let update = set.update("a/").unwrap();
        assert_eq!(update.endpoints.len(), 1);
        assert!(update.note.unwrap().contains("1 of 2 values"));
    }

    #[test]
    fn size_is_bounded() {
        let mut few = set(2, 9999);
        for key in ["a/1", "a/2", "a/2"] {
            few.put(pair(key, "a:1", 1), None).unwrap();
        }
        assert!(few.put(pair("a/3", "a:1", 1), None).unwrap_err().message.contains("more than 2 keys"));
        let mut small = set(9, 1000);
        assert!(small.put(pair("a/1", &"x".repeat(1000), 1), None).unwrap_err().message.contains("1000 bytes"));
    }

    #[test]
    fn a_set_knows_what_it_covers() {
        let mut set = set(9, 9999);
        set.put(pair("a/1", "a:1", 1), None).unwrap();
        assert!(set.covers(&HashSet::new()) && set.covers(&HashSet::from(["a:1".into()])));
        assert!(!set.covers(&HashSet::from(["a:1".into(), "b:1".into()])));
    }
}
