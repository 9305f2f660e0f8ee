//! The last addresses of each name, so that a family that cannot be asked for keeps what it had.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::dns::Addresses;
use crate::dns::Answer;
use crate::dns::Failure;

/// Bounded by the names of the last answer; see [`retain`](Self::retain).
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<String, (Vec<Ipv4Addr>, Vec<Ipv6Addr>)>);

/// What is known of a name after an answer.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
    /// Of the records that were answered; `None` if there were none, and all there is comes from before.
    pub(crate) ttl: Option<Duration>,
    /// What failed; what is merely absent only counts if nothing was answered.
    pub(crate) failures: Vec<Failure>,
}

impl Known {
    /// Takes an answer in.
    pub(crate) fn merge(&mut self, name: &str, answer: Addresses) -> Merged {
        let mut merged = Merged::default();
        let (v4, v6) = self.0.remove(name).unwrap_or_default();
        merged.v4 = merged.family("A", answer.v4, v4);
        merged.v6 = merged.family("AAAA", answer.v6, v6);
        if merged.ttl.is_some() {
            merged.failures.retain(|failure| !failure.is_absent());
        }
        self.0.insert(name.to_owned(), (merged.v4.clone(), merged.v6.clone()));
        merged
    }

    /// Forgets all other names.
    pub(crate) fn retain(&mut self, names: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| names(name));
    }
}

impl Merged {
    fn family<T>(&mut self, records: &str, answer: Answer<T>, known: Vec<T>) -> Vec<T> {
        match answer {
            Ok(answer) => {
                self.ttl = Some(self.ttl.map_or(answer.ttl, |ttl| ttl.min(answer.ttl)));
                answer.items
            }
            Err(failure @ Failure::Absent(_)) => {
                self.failures.push(failure);
                Vec::new()
            }
            Err(Failure::Failed(kind, message)) => {
                self.failures.push(Failure::Failed(kind, format!("{records} records: {message}")));
                known
            }
        }
    }

    /// The failure that says most: one that is no mere absence, if there is one.
    pub(crate) fn into_failure(self) -> Failure {
        let failures = self.failures.into_iter();
        failures.min_by_key(Failure::is_absent).unwrap_or_else(|| Failure::Absent("no addresses".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::absent;
    use crate::testing::failed;
    use crate::testing::v4;
    use crate::testing::v6;

    #[test]
    fn a_family_that_fails_keeps_its_addresses_and_one_that_is_gone_does_not() {
        let mut known = Known::default();
        known.merge("a", Addresses { v4: v4(&["10.0.0.1"], 60), v6: v6(&["::5"], 30) });
        let merged = known.merge("a", Addresses { v4: v4(&["10.0.0.2"], 60), v6: failed() });
        assert_eq!((merged.v4.len(), merged.v6.len(), merged.ttl), (1, 1, Some(Duration::from_secs(60))));
        assert_eq!(merged.failures.len(), 1);
        let merged = known.merge("a", Addresses { v4: absent(), v6: failed() });
        assert_eq!((merged.v4.len(), merged.v6.len(), merged.ttl), (0, 1, None));
        assert!(!merged.into_failure().is_absent());
        let merged = known.merge("a", Addresses { v4: absent(), v6: absent() });
        assert!(merged.v6.is_empty() && merged.into_failure().is_absent());
    }

    #[test]
    fn names_that_are_gone_are_forgotten() {
        let mut known = Known::default();
        known.merge("a", Addresses { v4: v4(&["10.0.0.1"], 60), v6: absent() });
        known.retain(|name| name != "a");
        assert!(known.merge("a", Addresses { v4: failed(), v6: failed() }).v4.is_empty());
    }
}
