//! The ConfigMap that holds a service config: list, watch, yield what is new, and begin again when something breaks.
//!
//! A session of its own beside the one of the endpoints, with a client of its own, so that neither waits for the other. It asks as that one does: a
//! list narrowed to the one name, which a role may allow by that name alone, then one watch after the other. What cannot be asked is news only
//! while nothing is known; later the last config stands.

use std::collections::BTreeMap;
use std::mem;

use futures_util::stream;
use lb_core::{ResolveErrorKind, ServiceConfigStream, ServiceConfigUpdate};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::access;
use crate::api::{Api, Selection};
use crate::config::KubernetesConfig;
use crate::entropy;
use crate::failure::Failure;
use crate::pace::Pace;
use crate::place::Place;
use crate::slice::{Metadata, Object};
use crate::stream::{FAILURES_TO_RENEW, PROOF, lived};
use crate::target::Subject;
use crate::watch::{Change, Watch};

/// A ConfigMap is at most 1 MiB; as JSON, which escapes quotes and more, it may be some times as large.
const LARGEST: usize = 4 << 20;

/// What is read of a ConfigMap.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMap {
    metadata: Metadata,
    data: Option<BTreeMap<String, String>>,
    /// Where Kubernetes puts what is no text.
    binary_data: Option<BTreeMap<String, IgnoredAny>>,
}

impl Object for ConfigMap {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// Owns everything the stream needs, so that dropping the stream drops it all, in the middle of a request too.
pub(crate) struct ConfigMapStream {
    config: KubernetesConfig,
    place: Place,
    /// Of the target, for a place that names none.
    namespace: Option<String>,
    pace: Pace,
    phase: Phase,
    /// Made anew after a refusal and some failures in a row, because address or credentials may have changed.
    api: Option<Api>,
    /// In a row.
    failures: u32,
    said: Option<ServiceConfigUpdate>,
}

/// What to do next.
enum Phase {
    Wait(Instant),
    List,
    Open(String),
    Watch(Box<Watch>),
}

impl ConfigMapStream {
    pub(crate) fn new(config: KubernetesConfig, place: Place, subject: &Subject) -> Self {
        let pace = Pace::new(&config, entropy::seeded(config.seed.map(|seed| !seed)));
        let namespace = subject.namespace.clone();
        Self { config, place, namespace, pace, phase: Phase::List, api: None, failures: 0, said: None }
    }

    pub(crate) fn run(self) -> ServiceConfigStream {
        Box::pin(stream::unfold(self, |mut this| async move {
            let config = this.next().await;
            Some((config, this))
        }))
    }

    async fn next(&mut self) -> ServiceConfigUpdate {
        loop {
            let config = match self.step().await {
                Ok(config) => config,
                Err(failure) => self.failed(&failure),
            };
            if let Some(config) = config.filter(|config| self.said.as_ref() != Some(config)) {
                self.said = Some(config.clone());
                return config;
            }
        }
    }

    /// What is known after it, if it may be new.
    async fn step(&mut self) -> Result<Option<ServiceConfigUpdate>, Failure> {
        match mem::replace(&mut self.phase, Phase::List) {
            Phase::Wait(at) => {
                sleep_until(at).await;
                Ok(None)
            }
            Phase::List => self.list().await.map(Some),
            Phase::Open(version) => {
                let Some(api) = &self.api else { return Ok(None) };
                let seconds = self.pace.watch_seconds(self.config.watch_timeout);
                self.phase = Phase::Watch(Box::new(api.watch(&version, seconds).await?));
                Ok(None)
            }
            Phase::Watch(watch) => self.follow(watch).await,
        }
    }

    async fn list(&mut self) -> Result<ServiceConfigUpdate, Failure> {
        let api = match self.api.take() {
            Some(api) => api,
            None => connect(&self.config, &self.place, self.namespace.as_ref()).await?,
        };
        let listed = api.everything::<ConfigMap>().await;
        self.api = Some(api);
        let (maps, version) = listed?;
        self.phase = Phase::Open(version);
        // A server that knows no selectors would tell of others too.
        let found = maps.iter().find(|map| map.metadata.name == self.place.name);
        Ok(found.map_or(ServiceConfigUpdate::Absent, |map| self.read(map)))
    }

    /// Until the next change, or the end of the watch in whatever way.
    async fn follow(&mut self, mut watch: Box<Watch>) -> Result<Option<ServiceConfigUpdate>, Failure> {
        let change = watch.next::<ConfigMap>().await;
        if watch.began.elapsed() >= PROOF {
            self.worked();
        }
        let config = match change? {
            None => {
                lived(&watch)?;
                self.worked();
                self.phase = Phase::Open(watch.version);
                return Ok(None);
            }
            Some(Change::Put(map, _)) if map.metadata.name == self.place.name => Some(self.read(&map)),
            Some(Change::Removed(name)) if name == self.place.name => Some(ServiceConfigUpdate::Absent),
            Some(_) => None,
        };
        self.phase = Phase::Watch(watch);
        Ok(config)
    }

    fn worked(&mut self) {
        self.pace.succeeded();
        self.failures = 0;
    }

    fn read(&self, map: &ConfigMap) -> ServiceConfigUpdate {
        let Place { name, key, .. } = &self.place;
        match map.data.as_ref().and_then(|data| data.get(key)) {
            Some(text) => text.as_str().into(),
            None if map.binary_data.as_ref().is_some_and(|data| data.contains_key(key)) => {
                ServiceConfigUpdate::Broken(format!("the key {key:?} of ConfigMap {name} is no text").into())
            }
            None => {
                warn!(config_map = name, key, "the ConfigMap has no such key: no service config");
                ServiceConfigUpdate::Absent
            }
        }
    }

    /// It is news only while nothing is known.
    fn failed(&mut self, failure: &Failure) -> Option<ServiceConfigUpdate> {
        let now = Instant::now();
        self.failures += 1;
        // A history that is gone is worth a new list, but not one list after the other.
        let at_once = failure.gone && self.failures == 1;
        self.phase = if at_once { Phase::List } else { Phase::Wait(self.pace.after(failure, now)) };
        if failure.kind == ResolveErrorKind::Refused || self.failures.is_multiple_of(FAILURES_TO_RENEW) {
            self.api = None;
        }
        let Place { name, key, .. } = &self.place;
        if self.failures == 1 && !at_once {
            warn!(config_map = name, key, error = %failure.message, "the service config cannot be read");
        } else {
            debug!(config_map = name, key, error = %failure.message, "the service config still cannot be read");
        }
        if self.said.is_some() || at_once {
            return None;
        }
        let reason = format!("the service config cannot be read: key {key:?} of ConfigMap {name}: {}", failure.message);
        Some(ServiceConfigUpdate::Broken(reason.into()))
    }
}

async fn connect(config: &KubernetesConfig, place: &Place, namespace: Option<&String>) -> Result<Api, Failure> {
    let client = access::open(config.cluster.clone(), config.timeout).await?;
    let namespace = access::namespace(&client, place.namespace.as_ref().or(namespace), config)?;
    let selection = Selection::config_map(namespace, &place.name);
    Ok(Api::new(client, selection, config.timeout, config.max_answer.min(LARGEST)))
}
