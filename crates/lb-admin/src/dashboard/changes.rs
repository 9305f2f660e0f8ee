//! What changed between two looks at a set of things with names.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

/// The set as it was told last.
#[derive(Debug)]
pub(super) struct Known<K, V>(HashMap<K, V>);

/// Changes as they are told. Nothing is told of what stayed as it was.
#[derive(Debug, Serialize)]
pub(super) struct Changes<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    set: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + AsRef<str>, V: PartialEq> Known<K, V> {
    /// Takes the set as it is now; `tell` makes of a thing, and of what it was before, what is told. `None` if nothing changed.
    pub(super) fn update<T>(&mut self, now: Vec<(K, V)>, tell: impl Fn(&V, Option<&V>) -> T) -> Option<Changes<T>> {
        let mut next = HashMap::with_capacity(now.len());
        let mut set = Vec::new();
        for (key, value) in now {
            let before = self.0.remove(&key);
            if before.as_ref() != Some(&value) {
                set.push(tell(&value, before.as_ref()));
            }
            next.insert(key, value);
        }
        let gone: Vec<String> = self.0.drain().map(|(key, _)| key.as_ref().to_owned()).collect();
        self.0 = next;
        (!set.is_empty() || !gone.is_empty()).then_some(Changes { set, gone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let mut known = Known::<&str, u32>::default();
        let mut told = |now: &[(&'static str, u32)]| {
            let changes = known.update(now.to_vec(), |value, before| format!("{before:?}->{value}"));
            serde_json::to_string(&changes).unwrap()
        };
        assert_eq!(told(&[("a", 1), ("b", 2)]), r#"{"set":["None->1","None->2"]}"#);
        assert_eq!(told(&[("b", 2), ("a", 1)]), "null");
        assert_eq!(told(&[("a", 3)]), r#"{"set":["Some(1)->3"],"gone":["b"]}"#);
        assert_eq!(told(&[]), r#"{"gone":["a"]}"#);
    }
}
