//! Some of a source's endpoints.
//!
//! Filters are asked in the order given, and an endpoint stays if all agree. Then, if a maximum is set, that many are chosen by
//! rendezvous hashing (highest random weight): every endpoint gets a score from the client's name and its own, and the highest win.
//!
//! The choice needs no memory and nobody else: the same client chooses the same of the same set, after a restart too. With `n`
//! endpoints and a maximum of `k`:
//! - An endpoint that leaves concerns only the clients that had chosen it, a share of about `k/n`; each of them gets one other in its place.
//! - An endpoint that joins displaces at most one chosen endpoint of a client, in a share of about `k/(n+1)` of the clients.
//! - Of `m` clients about `m·k/n` choose a given endpoint, with a standard deviation of `sqrt(m·k/n·(1−k/n))`. For 100 clients
//!   of 10 each among 50 that is 20 ± 4: choices are independent, not dealt out, so a small maximum is uneven.
//!
//! When not: to *prefer* a zone and still use the others when it is gone is a matter for localities and priorities, and to
//! limit a single call one for its pick options. What is filtered out here does not exist for the channel.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;

use crate::hash::hash;
use crate::source::Source;

/// Resolves to those endpoints of a source that pass every filter, in the source's order.
///
/// Filters add up. A set of which nothing passes is passed on empty, with a note that says so. Everything else of the source
/// (service config, errors, ends) is passed on as it is.
#[derive(Debug, Clone)]
pub struct FilteredResolver {
    schemes: [&'static str; 1],
    source: Source,
    filters: Arc<Filters>,
}

#[derive(Debug, Clone, Default)]
struct Filters {
    tests: Vec<Test>,
    most: Option<(usize, Arc<str>)>,
}

#[derive(Clone)]
enum Test {
    Capability(Arc<str>),
    Region(Arc<str>),
    Zone(Arc<str>),
    Metadata(Arc<str>, Arc<str>),
    Other(Arc<str>, Arc<dyn Fn(&Endpoint) -> bool + Send + Sync>),
}

impl FilteredResolver {
    /// A resolver for this scheme (lower case) that lets every endpoint through until it is given a filter.
    pub fn new(scheme: &'static str, source: Source) -> Self {
        Self { schemes: [scheme], source, filters: Arc::default() }
    }

    /// Only endpoints with this capability, matched whole and case-sensitively.
    #[must_use]
    pub fn capability(self, capability: impl Into<Arc<str>>) -> Self {
        self.and(Test::Capability(capability.into()))
    }

    /// Only endpoints of this region; one whose region is unknown is of none.
    #[must_use]
    pub fn region(self, region: impl Into<Arc<str>>) -> Self {
        self.and(Test::Region(region.into()))
    }

    /// Only endpoints of this zone; one whose zone is unknown is of none.
    #[must_use]
    pub fn zone(self, zone: impl Into<Arc<str>>) -> Self {
        self.and(Test::Zone(zone.into()))
    }

    /// Only endpoints whose metadata has this value under this key.
    #[must_use]
    pub fn metadata(self, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.and(Test::Metadata(key.into(), value.into()))
    }

    /// Only endpoints this says yes to; `name` stands for it in notes. It runs on the channel's own task and must neither block nor panic.
    #[must_use]
    pub fn filter(self, name: impl Into<Arc<str>>, test: impl Fn(&Endpoint) -> bool + Send + Sync + 'static) -> Self {
        self.and(Test::Other(name.into(), Arc::new(test)))
    }

    /// At most so many (at least 1) of those that pass, chosen so that a client always chooses the same and clients choose
    /// evenly. `client` is the client's name, which should outlive restarts and be another one for each client.
    ///
    /// An endpoint that leaves costs each client that had it that one endpoint and no other, and one that joins at most one; the bounds are
    /// those of rendezvous hashing.
    #[must_use]
    pub fn at_most(mut self, count: usize, client: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.filters).most = Some((count.max(1), client.into()));
        self
    }

    fn and(mut self, test: Test) -> Self {
        Arc::make_mut(&mut self.filters).tests.push(test);
        self
    }
}

impl Resolver for FilteredResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, _target: &Target) -> Result<(), ResolveError> {
        self.source.validate()
    }

    fn resolve(&self, _target: &Target, again: ResolveNow) -> ResolverStream {
        let (source, filters) = (self.source.clone(), Arc::clone(&self.filters));
        let answers = self.source.resolve(again);
        answers
            .map(move |answer| match answer {
                Ok(update) => Ok(filters.apply(update, &source)),
                Err(error) => Err(source.named(&error)),
            })
            .boxed()
    }

    fn authority(&self, target: &Target) -> Option<String> {
        self.source.authority(target)
    }
}

impl Filters {
    fn apply(&self, mut update: ResolverUpdate, source: &Source) -> ResolverUpdate {
        let all = update.endpoints.len();
        update.endpoints.retain(|endpoint| self.tests.iter().all(|test| test.passes(endpoint)));
        if let Some((most, client)) = &self.most {
            choose(&mut update.endpoints, *most, client);
        }
        if !update.endpoints.is_empty() || all == 0 {
            return update;
        }
        let wanted: Vec<String> = self.tests.iter().map(ToString::to_string).collect();
        let word = format!("none of the {all} endpoints of {source} has {}", wanted.join(" and "));
        let note = update.note.as_deref().map_or_else(|| word.clone(), |note| format!("{word}; {note}"));
        update.with_note(note)
    }
}

impl Test {
    fn passes(&self, endpoint: &Endpoint) -> bool {
        let attributes = &endpoint.attributes;
        match self {
            Self::Capability(capability) => attributes.capabilities.contains(capability),
            Self::Region(region) => attributes.locality.region == *region,
            Self::Zone(zone) => attributes.locality.zone == *zone,
            Self::Metadata(key, value) => attributes.metadata.get(key) == Some(value),
            Self::Other(_, test) => test(endpoint),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(capability) => write!(f, "capability {capability:?}"),
            Self::Region(region) => write!(f, "region {region:?}"),
            Self::Zone(zone) => write!(f, "zone {zone:?}"),
            Self::Metadata(key, value) => write!(f, "metadata {key:?} = {value:?}"),
            Self::Other(name, _) => write!(f, "{name}"),
        }
    }
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keeps the `most` endpoints of the highest score, in their order. Names that are alike are told apart by the addresses.
fn choose(endpoints: &mut Vec<Endpoint>, most: usize, client: &str) {
    if endpoints.len() <= most {
        return;
    }
    let score = |endpoint: &Endpoint| {
        let name = endpoint.attributes.id.as_deref().unwrap_or_else(|| endpoint.key().as_str());
        (hash(&[client.as_bytes(), name.as_bytes()]), endpoint.key().clone())
    };
    let mut scores: Vec<_> = endpoints.iter().map(score).collect();
    let (_, least, _) = scores.select_nth_unstable_by(most - 1, |one, other| other.cmp(one));
    let least = least.clone();
    endpoints.retain(|endpoint| score(endpoint) >= least);
}

#[cfg(test)]
mod tests;
