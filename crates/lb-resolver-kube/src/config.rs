//! How to ask a Kubernetes API server.

use std::path::PathBuf;
use std::time::Duration;

use lb_core::{BackoffConfig, ConfigError};

use crate::place::Place;

/// Beyond this a dead connection would not show within a minute.
const LONGEST_WATCH: Duration = Duration::from_secs(30);

/// The API counts in seconds, and 0 would mean the server's own limit.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// A slice of one endpoint does not fit into less.
const SMALLEST_ANSWER: usize = 4 << 10;

/// How a [`KubernetesResolver`](crate::KubernetesResolver) finds its API server and how it asks it.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesConfig {
    pub(crate) backoff: BackoffConfig,
    pub(crate) cluster: Cluster,
    pub(crate) max_answer: usize,
    pub(crate) namespace: Option<String>,
    pub(crate) node_topology: bool,
    pub(crate) prefix: String,
    pub(crate) seed: Option<u64>,
    pub(crate) service_config_map: Option<Place>,
    pub(crate) settle: Duration,
    pub(crate) terminating_fallback: bool,
    pub(crate) timeout: Duration,
    pub(crate) watch_timeout: Duration,
}

/// Where the API server and the credentials for it are described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// `$KUBECONFIG` or `~/.kube/config`, else what a pod is given.
    Inferred,
    /// What a pod is given.
    Pod,
    /// A file; `None` is the usual one.
    Kubeconfig { path: Option<PathBuf>, context: Option<String> },
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            backoff: backoff(Duration::from_millis(100), Duration::from_millis(1500)),
            cluster: Cluster::Inferred,
            // A service of ten thousand pods is about 8 MiB of JSON.
            max_answer: 64 << 20,
            namespace: None,
            node_topology: false,
            prefix: "evenkeel".to_owned(),
            seed: None,
            service_config_map: None,
            // A controller writes the slices of one change within some tens of milliseconds of each other.
            settle: Duration::from_millis(100),
            terminating_fallback: true,
            timeout: Duration::from_secs(10),
            watch_timeout: LONGEST_WATCH,
        }
    }
}

/// A pace that is known to be allowed.
pub(crate) fn backoff(initial: Duration, max: Duration) -> BackoffConfig {
    let default = BackoffConfig::default();
    default.with_initial(initial).and_then(|it| it.with_max(max)).unwrap_or(default)
}

impl KubernetesConfig {
    /// The defaults: the kubeconfig (`$KUBECONFIG`, else `~/.kube/config`) if there is one, else what a pod in a cluster is given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses what a pod is given: its service account's token and namespace, the cluster's authority and address. The token is read again
    /// when it is renewed.
    #[must_use]
    pub fn with_in_cluster(self) -> Self {
        Self { cluster: Cluster::Pod, ..self }
    }

    /// Uses a kubeconfig; `None` is the usual one. It is read when first needed, again after each refusal, and now and
    /// then while the server cannot be reached.
    #[must_use]
    pub fn with_kubeconfig(self, path: Option<PathBuf>) -> Self {
        let context = match self.cluster {
            Cluster::Kubeconfig { context, .. } => context,
            Cluster::Inferred | Cluster::Pod => None,
        };
        Self { cluster: Cluster::Kubeconfig { path, context }, ..self }
    }

    /// Uses a context of the kubeconfig other than its current one.
    #[must_use]
    pub fn with_context(self, context: impl Into<String>) -> Self {
        let path = match self.cluster {
            Cluster::Kubeconfig { path, .. } => path,
            Cluster::Inferred | Cluster::Pod => None,
        };
        Self { cluster: Cluster::Kubeconfig { path, context: Some(context.into()) }, ..self }
    }

    /// Sets the namespace of targets that name none; default the context's or the pod's.
    #[must_use]
    pub fn with_namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// Sets whether the region, and a zone that the slices do not name, come from the labels of the pods' nodes
    /// (`topology.kubernetes.io/region` and `/zone`); default false, because it needs the right to `get` `nodes`, which are not in a
    /// namespace. Each node is asked for once. Without the right endpoints come without, and that is logged.
    #[must_use]
    pub fn with_node_topology(self, node_topology: bool) -> Self {
        Self { node_topology, ..self }
    }

    /// Sets what stands before the slash of the annotations and labels that are read as attributes; default `evenkeel`.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets how attempts are paced while the server cannot be reached; default 0.1 s, times 1.6, at most 1.5 s, ±20 %. The connect timeout in
    /// it is not used. The delay counts from the failure. The short default is what shows changes within 2 s of the server's return; with
    /// thousands of clients on one server a longer one is kinder. Refusals wait ten times as long, at least 1 s and at most 30 s.
    #[must_use]
    pub fn with_backoff(self, backoff: BackoffConfig) -> Self {
        Self { backoff, ..self }
    }

    /// Sets how long a request may take until it is answered, and each page of a list until it is complete, 10 ms to 10 min; default 10 s.
    ///
    /// # Errors
    /// The timeout is out of range.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let timeout = within("timeout", timeout, Duration::from_millis(10), Duration::from_secs(600))?;
        Ok(Self { timeout, ..self })
    }

    /// Sets how long one watch lasts at most before it is resumed, 1 s to 30 s, in whole seconds; default 30 s. Each lasts up to a quarter
    /// less by chance. A connection that died silently is noticed 5 s after the watch should have ended.
    ///
    /// # Errors
    /// The timeout is out of range.
    pub fn with_watch_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let watch_timeout = within("watch_timeout", timeout, SHORTEST_WATCH, LONGEST_WATCH)?;
        Ok(Self { watch_timeout, ..self })
    }

    /// Reads the service config from a ConfigMap and watches it, for targets that do not name another with `service_config=…` (or none, with
    /// nothing behind the `=`); default none. `namespace/name:key`, of which the name is enough: the namespace is then the service's, the
    /// key `service_config.json`. Its value is the config's JSON. No such ConfigMap, none such key, or one without a value, is no config;
    /// one that cannot be read at first is a broken one, and later the last one stands. The service account needs `get`, `list` and
    /// `watch` on `configmaps` there, for which a role may name the one.
    ///
    /// # Errors
    /// A part cannot be a name of its kind.
    pub fn with_service_config_map(self, place: &str) -> Result<Self, ConfigError> {
        let parsed = Place::parse(place).map_err(|reason| {
            ConfigError::new("kubernetes.service_config_map", place, format!("namespace/name:key, and {reason}"))
        })?;
        Ok(Self { service_config_map: Some(parsed), ..self })
    }

    /// Sets for how long changes are gathered after the first, 0 to 1 s; default 0.1 s.
    ///
    /// # Errors
    /// The time is out of range.
    pub fn with_settle(self, settle: Duration) -> Result<Self, ConfigError> {
        let settle = within("settle", settle, Duration::ZERO, Duration::from_secs(1))?;
        Ok(Self { settle, ..self })
    }

    /// Sets how many bytes of JSON all slices of a service may be together, at least 4 KiB; default 64 MiB. More is an error, not a part.
    ///
    /// # Errors
    /// The bound is out of range.
    pub fn with_max_answer(self, bytes: usize) -> Result<Self, ConfigError> {
        if bytes < SMALLEST_ANSWER {
            return Err(ConfigError::new("kubernetes.max_answer", bytes, format!("at least {SMALLEST_ANSWER}")));
        }
        Ok(Self { max_answer: bytes, ..self })
    }

    /// Sets whether endpoints that end but still serve get calls if no endpoint is ready, as kube-proxy has it (KEP-1669); default true.
    #[must_use]
    pub fn with_terminating_fallback(self, fallback: bool) -> Self {
        Self { terminating_fallback: fallback, ..self }
    }

    /// Sets the seed of everything that is drawn by chance, for repeatable runs; default different for every stream.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }
}

fn within(field: &str, value: Duration, least: Duration, most: Duration) -> Result<Duration, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("kubernetes.{field}"), format!("{value:?}"), format!("{least:?} to {most:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_errors_that_say_the_range() {
        let config = KubernetesConfig::new;
        let error = config().with_watch_timeout(Duration::from_secs(31)).unwrap_err().to_string();
        assert!(error.contains("kubernetes.watch_timeout is 31s, allowed is 1s to 30s"), "{error}");
        assert!(config().with_watch_timeout(Duration::ZERO).is_err());
        assert!(config().with_timeout(Duration::ZERO).is_err());
        assert!(config().with_settle(Duration::from_secs(2)).is_err());
        assert!(config().with_max_answer(0).is_err());
    }

    #[test]
    fn the_pace_of_the_default_shows_changes_within_two_seconds() {
        let pace = KubernetesConfig::new().backoff;
        assert_eq!(pace.nominal(0), Duration::from_millis(100));
        assert_eq!(pace.nominal(20), Duration::from_millis(1500));
    }

    #[test]
    fn a_context_is_one_of_the_kubeconfig() {
        let config = KubernetesConfig::new().with_kubeconfig(Some("a".into())).with_context("b");
        assert_eq!(config.cluster, Cluster::Kubeconfig { path: Some("a".into()), context: Some("b".to_owned()) });
        assert_eq!(KubernetesConfig::new().with_context("b").with_kubeconfig(Some("a".into())), config);
    }
}
