//! A server, somebody who writes slices as a controller would, and somebody who watches a resolver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lb_core::{Locality, RegistryHealth, ResolveErrorKind, Resolver, ServiceConfigUpdate, Target, Trigger};
use lb_resolver_kube::{KubernetesConfig, KubernetesResolver};
use lb_testkit::services::{self, KubeApi, KubeUser};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const NAMESPACE: &str = "shop";

/// Longer than anything takes on a busy machine; what a test promises is checked apart.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) server: KubeApi,
    pub(crate) slices: Api<EndpointSlice>,
}

impl World {
    /// `None` where the servers are missing.
    pub(crate) async fn start() -> Option<Self> {
        let (root, etcd) = (services::require("kubeapi")?, services::require("etcd")?);
        Some(Self::over(KubeApi::start(&root, &etcd).unwrap()).await)
    }

    pub(crate) async fn start_without_watch_cache() -> Option<Self> {
        let (root, etcd) = (services::require("kubeapi")?, services::require("etcd")?);
        Some(Self::over(KubeApi::start_without_watch_cache(&root, &etcd).unwrap()).await)
    }

    async fn over(server: KubeApi) -> Self {
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig(KubeUser::Admin, NAMESPACE).unwrap()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let slices = Api::default_namespaced(Client::try_from(config).unwrap());
        Self { server, slices }
    }

    pub(crate) fn config(&self, user: KubeUser) -> KubernetesConfig {
        KubernetesConfig::new().with_kubeconfig(Some(self.server.kubeconfig(user, NAMESPACE).unwrap()))
    }

    /// Watches the service `orders` as a reader.
    pub(crate) fn watch(&self) -> Seen {
        Seen::watch(self.config(KubeUser::Reader))
    }

    /// Makes a node in a region and a zone.
    pub(crate) async fn create_node(&self, name: &str, region: &str, zone: &str) {
        let labels = [("topology.kubernetes.io/region", region), ("topology.kubernetes.io/zone", zone)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let nodes: Api<Node> = Api::all(self.slices.clone().into_client());
        nodes.create(&PostParams::default(), &Node { metadata, ..Node::default() }).await.unwrap();
    }

    pub(crate) async fn create(&self, slice: &EndpointSlice) {
        self.slices.create(&PostParams::default(), slice).await.unwrap();
    }

    pub(crate) async fn replace(&self, slice: &EndpointSlice) {
        let name = slice.metadata.name.as_deref().unwrap();
        self.slices.replace(name, &PostParams::default(), slice).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.slices.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

pub(crate) fn slice_of(service: &str, name: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let labels = BTreeMap::from([("kubernetes.io/service-name".to_owned(), service.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    let port = EndpointPort { name: Some("grpc".to_owned()), port: Some(50051), ..EndpointPort::default() };
    EndpointSlice { metadata, address_type: "IPv4".to_owned(), endpoints: Some(endpoints), ports: Some(vec![port]) }
}

/// A slice of `orders`.
pub(crate) fn slice(name: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    slice_of("orders", name, endpoints)
}

pub(crate) fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 200, number % 200 + 1)
}

pub(crate) fn key(number: usize) -> String {
    format!("{}:50051", address(number))
}

/// A pod that is ready.
pub(crate) fn pod(number: usize) -> Endpoint {
    let target_ref =
        ObjectReference { kind: Some("Pod".to_owned()), name: Some(format!("p{number}")), ..ObjectReference::default() };
    Endpoint { addresses: vec![address(number)], target_ref: Some(target_ref), ..Endpoint::default() }
}

pub(crate) fn pods(numbers: impl IntoIterator<Item = usize>) -> Vec<Endpoint> {
    numbers.into_iter().map(pod).collect()
}

pub(crate) fn with_conditions(endpoint: Endpoint, ready: bool, serving: bool, terminating: bool) -> Endpoint {
    let conditions = EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) };
    Endpoint { conditions: Some(conditions), ..endpoint }
}

/// What a channel would know.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) set: BTreeMap<String, RegistryHealth>,
    pub(crate) places: BTreeMap<String, Locality>,
    pub(crate) service_config: Option<ServiceConfigUpdate>,
    pub(crate) updates: usize,
    pub(crate) errors: Vec<(ResolveErrorKind, String)>,
}

impl State {
    pub(crate) fn keys(&self) -> Vec<&str> {
        self.set.keys().map(String::as_str).collect()
    }

    pub(crate) fn is(&self, numbers: impl IntoIterator<Item = usize>) -> bool {
        let mut wanted: Vec<_> = numbers.into_iter().map(key).collect();
        wanted.sort_unstable();
        self.keys() == wanted
    }

    pub(crate) fn last_error(&self) -> &str {
        self.errors.last().map_or("", |(_, message)| message)
    }
}

/// A resolver that is being polled, and what it said last. Ends with the handle.
pub(crate) struct Seen {
    state: watch::Receiver<State>,

    task: JoinHandle<()>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    pub(crate) fn watch(config: KubernetesConfig) -> Self {
        Self::watch_target(config, "kubernetes:///orders:grpc")
    }

    pub(crate) fn watch_target(config: KubernetesConfig, target: &str) -> Self {
        let target = Target::parse(target, &|scheme| scheme == "kubernetes").unwrap();
        let (_, again) = Trigger::pair();
        let mut stream = KubernetesResolver::with_config(config).resolve(&target, again);
        let (sender, state) = watch::channel(State::default());
        let task = tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                sender.send_modify(|state| match item {
                    Ok(update) => {
                        let health = |endpoint: &lb_core::Endpoint| (endpoint.key().to_string(), endpoint.attributes.health);
                        state.set = update.endpoints.iter().map(health).collect();
                        let place =
                            |endpoint: &lb_core::Endpoint| (endpoint.key().to_string(), endpoint.attributes.locality.clone());
                        state.places = update.endpoints.iter().map(place).collect();
                        state.service_config = Some(update.service_config);
                        state.updates += 1;
                    }
                    Err(error) => state.errors.push((error.kind(), error.to_string())),
                });
            }
        });
        Self { state, task }
    }

    pub(crate) fn now(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits for a state and says how long that took.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&State) -> bool) -> Duration {
        let began = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, self.state.wait_for(|state| wanted(state))).await;
        let reached = outcome.is_ok_and(|inner| inner.is_ok());
        assert!(reached, "{what}: not within {PATIENCE:?}; now {:?}", self.now());
        began.elapsed()
    }
}
