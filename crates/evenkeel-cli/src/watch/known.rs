//! What is known of a target, and what changed last.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel::Endpoint;
use evenkeel::EndpointKey;
use evenkeel::ResolveError;
use evenkeel::ResolverUpdate;

/// The last good set, the failure since then, and the difference the last answer made.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) note: Option<Arc<str>>,
    /// Since when it fails, and why; `None` while it answers.
    pub(crate) failure: Option<(SystemTime, ResolveError)>,
    /// Whether it ever answered, and when it last did.
    pub(crate) answered: Option<SystemTime>,
    pub(crate) change: Change,
}

/// The difference between two sets.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) added: Vec<EndpointKey>,
    pub(crate) removed: Vec<Endpoint>,
    pub(crate) changed: Vec<EndpointKey>,
}

impl Known {
    pub(crate) fn take(&mut self, answer: Result<ResolverUpdate, ResolveError>, now: SystemTime) {
        match answer {
            Ok(update) => self.replace(update, now),
            Err(error) => {
                let since = self.failure.as_ref().map_or(now, |(since, _)| *since);
                self.failure = Some((since, error));
                self.change = Change::default();
            }
        }
    }

    fn replace(&mut self, update: ResolverUpdate, now: SystemTime) {
        let mut seen = HashSet::new();
        // As the channel has it: of repetitions the first counts.
        let endpoints: Vec<Endpoint> =
            update.endpoints.into_iter().filter(|endpoint| seen.insert(endpoint.key().clone())).collect();
        let old: HashMap<&EndpointKey, &Endpoint> = self.endpoints.iter().map(|endpoint| (endpoint.key(), endpoint)).collect();
        let mut change = Change::default();
        for endpoint in &endpoints {
            match old.get(endpoint.key()) {
                None => change.added.push(endpoint.key().clone()),
                Some(old) if *old != endpoint => change.changed.push(endpoint.key().clone()),
                Some(_) => {}
            }
        }
        change.removed = self.endpoints.iter().filter(|endpoint| !seen.contains(endpoint.key())).cloned().collect();
        *self = Self { endpoints, note: update.note, failure: None, answered: Some(now), change };
    }
}

/// `no endpoints`, `1 endpoint`, `7 endpoints`.
pub(crate) fn count(endpoints: usize) -> String {
    match endpoints {
        0 => "no endpoints".to_owned(),
        1 => "1 endpoint".to_owned(),
        more => format!("{more} endpoints"),
    }
}
