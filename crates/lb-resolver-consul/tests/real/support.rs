//! A resolver's stream, watched from beside it.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use lb_core::Attributes;
use lb_core::ResolveError;
use lb_core::Resolver;
use lb_core::ResolverUpdate;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_consul::ConsulConfig;
use lb_resolver_consul::ConsulResolver;
use lb_testkit::services::Consul;
use tokio::sync::watch;

/// Generous: only a broken resolver, or a machine in trouble, takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a stream has yielded so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The last set: what a channel works with.
    pub(crate) last: Option<ResolverUpdate>,
    /// The last error, unless a set came after it.
    pub(crate) error: Option<ResolveError>,
    pub(crate) updates: usize,
    pub(crate) errors: usize,
    /// Every endpoint there ever was.
    pub(crate) ever: BTreeSet<String>,
}

pub(crate) struct Watcher {
    seen: watch::Receiver<Seen>,
    _again: Trigger,
    task: tokio::task::JoinHandle<()>,
}

impl Seen {
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let endpoints = self.last.iter().flat_map(|update| &update.endpoints);
        endpoints.map(|endpoint| endpoint.key().to_string()).collect()
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        &self.last.as_ref().unwrap().endpoints[0].attributes
    }

    /// Whether the set is this, and no error came after it.
    pub(crate) fn is(&self, keys: &BTreeSet<String>) -> bool {
        self.error.is_none() && self.last.is_some() && self.keys() == *keys
    }

    pub(crate) fn note(&self) -> &str {
        self.last.as_ref().and_then(|update| update.note.as_deref()).unwrap_or_default()
    }

    pub(crate) fn failed_with(&self, word: &str) -> bool {
        self.error.as_ref().is_some_and(|error| error.to_string().contains(word))
    }
}

impl Watcher {
    /// Watches `consul:///` + `target` through this agent.
    pub(crate) fn start(consul: &Consul, target: &str) -> Self {
        Self::with(config(consul), target)
    }

    pub(crate) fn with(config: ConsulConfig, target: &str) -> Self {
        let target = Target::parse(&format!("consul:///{target}"), &|scheme| scheme == "consul").unwrap();
        let (again, triggered) = Trigger::pair();
        let mut stream = ConsulResolver::with_config(config).unwrap().resolve(&target, triggered);
        let (sender, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                sender.send_modify(|seen| match item {
                    Ok(update) => {
                        seen.updates += 1;
                        seen.error = None;
                        seen.last = Some(update);
                        seen.ever.append(&mut seen.keys());
                    }
                    Err(error) => {
                        seen.errors += 1;
                        seen.error = Some(error);
                    }
                });
            }
        });
        Self { seen, _again: again, task }
    }

    pub(crate) fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen is as wanted, and says how long that took.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl FnMut(&Seen) -> bool) -> Duration {
        let start = Instant::now();
        let waited = tokio::time::timeout(PATIENCE, self.seen.wait_for(wanted)).await.map(|seen| seen.map(drop));
        match waited {
            Ok(Ok(())) => start.elapsed(),
            Ok(Err(_)) => panic!("the stream ended while waiting: {what}"),
            Err(_) => panic!("not within {PATIENCE:?}: {what}; last seen: {:?}", self.now()),
        }
    }

    pub(crate) async fn until_is(&mut self, keys: &BTreeSet<String>) -> Duration {
        self.until(&format!("the set is {} endpoints", keys.len()), |seen| seen.is(keys)).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks this agent, with the token that may do everything, if it wants one.
pub(crate) fn config(consul: &Consul) -> ConsulConfig {
    let config = ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap();
    config.with_token(consul.token().unwrap_or_default()).unwrap()
}

pub(crate) fn keys(ports: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
    ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect()
}
