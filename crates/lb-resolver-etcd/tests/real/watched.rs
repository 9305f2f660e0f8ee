//! A resolver that is watched, and waiting for what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::Resolver;
use lb_core::ResolverUpdate;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_etcd::EtcdConfig;
use lb_resolver_etcd::EtcdResolver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For what has no bound of its own: a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a resolver has said so far.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) update: Option<ResolverUpdate>,
    pub(crate) updates: usize,
    pub(crate) errors: Vec<ResolveError>,
    /// The fewest endpoints of any update.
    pub(crate) fewest: Option<usize>,
}

impl Said {
    pub(crate) fn addresses(&self) -> BTreeSet<String> {
        self.endpoints().iter().map(|endpoint| endpoint.key().to_string()).collect()
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        self.update.as_ref().map_or(&[], |update| &update.endpoints)
    }

    pub(crate) fn last_error(&self) -> &ResolveError {
        self.errors.last().expect("there was no error")
    }

    fn hear(&mut self, item: Result<ResolverUpdate, ResolveError>) {
        match item {
            Ok(update) => {
                let found = update.endpoints.len();
                self.fewest = Some(self.fewest.map_or(found, |fewest| fewest.min(found)));
                self.updates += 1;
                self.update = Some(update);
            }
            Err(error) => self.errors.push(error),
        }
    }
}

/// A running resolver; dropping it drops its stream.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) said: watch::Receiver<Said>,
    pub(crate) trigger: Trigger,
    task: JoinHandle<()>,
    /// Errors that were waited for already.
    errors: usize,
}

impl Watched {
    /// Resolves `etcd://{members}/svc`.
    pub(crate) fn start(config: EtcdConfig, members: &str) -> Self {
        let target = Target::parse(&format!("etcd://{members}/svc"), &|scheme| scheme == "etcd").unwrap();
        let (trigger, again) = Trigger::pair();
        let mut stream = EtcdResolver::with_config(config).resolve(&target, again);
        let (says, said) = watch::channel(Said::default());
        let task = tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                says.send_modify(|said| said.hear(item));
            }
        });
        Self { said, trigger, task, errors: 0 }
    }

    /// Waits until what was said fulfils this, and gives how long that took.
    pub(crate) async fn until(&mut self, what: &str, limit: Duration, holds: impl Fn(&Said) -> bool) -> Duration {
        let start = std::time::Instant::now();
        let waited = timeout(limit, self.said.wait_for(|said| holds(said))).await.is_ok();
        if !waited {
            let said = self.said.borrow();
            panic!("not within {limit:?}: {what}; {} updates, last {:?}, errors {:?}", said.updates, said.addresses(), said.errors);
        }
        start.elapsed()
    }

    /// Waits until exactly these addresses are there.
    pub(crate) async fn until_is(&mut self, limit: Duration, expected: &[&str]) -> Duration {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        self.until(&format!("{expected:?}"), limit, |said| said.updates > 0 && said.addresses() == expected).await
    }

    /// Waits for an error that is none of those before the last such wait.
    pub(crate) async fn until_fails(&mut self, limit: Duration) -> Duration {
        let before = self.errors;
        let waited = self.until("an error", limit, |said| said.errors.len() > before).await;
        self.errors = self.said.borrow().errors.len();
        waited
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Said) -> T) -> T {
        read(&self.said.borrow())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}
