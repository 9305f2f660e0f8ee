//! A service config in a ConfigMap.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lb_core::ServiceConfigUpdate;
use lb_resolver_kube::KubernetesConfig;
use lb_testkit::services::KubeUser;
use serde_json::{Value, json};

use crate::world::{Seen, State, World, pods, slice};

const SECOND: Duration = Duration::from_secs(1);

/// The ConfigMaps of a namespace, as their owner sees them.
struct Maps(Api<ConfigMap>);

fn map(name: &str, key: &str, text: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(BTreeMap::from([(key.to_owned(), text.to_owned())])), ..ConfigMap::default() }
}

impl Maps {
    fn of(world: &World, namespace: &str) -> Self {
        Self(Api::namespaced(world.slices.clone().into_client(), namespace))
    }

    async fn create(&self, map: &ConfigMap) {
        self.0.create(&PostParams::default(), map).await.unwrap();
    }

    async fn replace(&self, map: &ConfigMap) {
        self.0.replace(map.metadata.name.as_deref().unwrap(), &PostParams::default(), map).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

fn policy(name: &str) -> Value {
    json!({"loadBalancingConfig": [{name: {}}]})
}

fn is(state: &State, wanted: &Value) -> bool {
    state.service_config == Some(wanted.clone().into())
}

fn broken(state: &State) -> Option<&str> {
    match &state.service_config {
        Some(ServiceConfigUpdate::Broken(reason)) => Some(reason),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_changes_breaks_and_goes_with_its_config_map() {
    let Some(mut world) = World::start().await else { return };
    let maps = Maps::of(&world, "shop");
    world.create(&slice("a", pods([1]))).await;
    // A name that only begins alike is another one.
    maps.create(&map("orders2", "service_config.json", "{ no JSON")).await;
    let mut seen = Seen::watch_target(world.config(KubeUser::Reader), "kubernetes:///orders:grpc?service_config=orders");
    seen.until("endpoints", |state| state.is([1])).await;
    assert_eq!(seen.now().service_config, Some(ServiceConfigUpdate::Absent));

    maps.create(&map("orders", "service_config.json", &policy("random").to_string())).await;
    assert!(seen.until("created", |state| is(state, &policy("random"))).await < SECOND);
    let next = policy("round_robin");
    maps.replace(&map("orders", "service_config.json", &next.to_string())).await;
    assert!(seen.until("changed", |state| is(state, &next)).await < SECOND);
    maps.replace(&map("orders", "service_config.json", "{ no JSON")).await;
    seen.until("it is broken", |state| broken(state).is_some()).await;
    // Beside it the endpoints go on.
    world.replace(&slice("a", pods([1, 2]))).await;
    seen.until("two", |state| state.is([1, 2])).await;
    assert!(broken(&seen.now()).is_some());
    let bytes = BTreeMap::from([("service_config.json".to_owned(), ByteString(vec![0xff]))]);
    let binary = ConfigMap { data: None, binary_data: Some(bytes), ..map("orders", "", "") };
    maps.replace(&binary).await;
    seen.until("it is no text", |state| broken(state).is_some_and(|reason| reason.contains("is no text"))).await;
    // Without the key there is none, nor without the ConfigMap.
    maps.replace(&map("orders", "service_config.json", &next.to_string())).await;
    seen.until("it is good again", |state| is(state, &next)).await;
    maps.replace(&map("orders", "another", "{}")).await;
    seen.until("its key is gone", |state| state.service_config == Some(ServiceConfigUpdate::Absent)).await;
    maps.replace(&map("orders", "service_config.json", &next.to_string())).await;
    seen.until("its key is back", |state| is(state, &next)).await;
    maps.delete("orders").await;
    seen.until("it is gone", |state| state.service_config == Some(ServiceConfigUpdate::Absent)).await;

    maps.create(&map("orders", "service_config.json", &policy("random").to_string())).await;
    seen.until("it is back", |state| is(state, &policy("random"))).await;
    // A server away is no config gone.
    world.server.kill().unwrap();
    seen.until("the endpoints cannot be asked for", |state| !state.errors.is_empty()).await;
    assert!(is(&seen.now(), &policy("random")));
    world.server.restart().unwrap();
    maps.replace(&map("orders", "service_config.json", &next.to_string())).await;
    seen.until("a change after its return", |state| is(state, &next)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_lie_in_another_namespace_under_another_key() {
    let Some(world) = World::start().await else { return };
    let maps = Maps::of(&world, "platform");
    world.create(&slice("a", pods([1]))).await;
    maps.create(&map("clients.v1", "orders", &policy("random").to_string())).await;
    let config = world.config(KubeUser::Reader).with_service_config_map("platform/clients.v1:orders").unwrap();
    let mut seen = Seen::watch(config.clone());
    seen.until("read", |state| state.is([1]) && is(state, &policy("random"))).await;
    // The target's counts before, and may be none.
    let mut seen = Seen::watch_target(config, "kubernetes:///orders:grpc?service_config=");
    seen.until("endpoints alone", |state| state.is([1])).await;
    assert_eq!(seen.now().service_config, Some(ServiceConfigUpdate::Absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_that_may_not_be_read_is_a_broken_config_and_costs_no_endpoint() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods([1]))).await;
    let maps = Maps::of(&world, "shop");
    maps.create(&map("orders", "service_config.json", &policy("random").to_string())).await;
    let path = world.server.kubeconfig(KubeUser::NoConfigMaps, "shop").unwrap();
    let copy = path.with_extension("granted");
    std::fs::copy(&path, &copy).unwrap();
    let config = KubernetesConfig::new().with_kubeconfig(Some(copy.clone())).with_service_config_map("orders").unwrap();
    let mut seen = Seen::watch(config);
    seen.until("endpoints", |state| state.is([1])).await;
    let state = seen.now();
    let reason = broken(&state).unwrap_or_else(|| panic!("{state:?}"));
    let wanted = "ConfigMap orders: 403: needs get, list, watch on configmaps in namespace shop, and may not list";
    assert!(reason.contains(wanted) && reason.contains("cannot list resource \"configmaps\""), "{reason}");
    // The endpoints' watch goes on, and a right that is given is used.
    world.replace(&slice("a", pods([1, 2]))).await;
    seen.until("two", |state| state.is([1, 2])).await;
    assert!(seen.now().errors.is_empty(), "{:?}", seen.now());
    std::fs::rename(world.server.kubeconfig(KubeUser::Reader, "shop").unwrap(), copy).unwrap();
    seen.until("granted", |state| is(state, &policy("random"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_is_gone_is_read_anew_and_told_once() {
    let Some(mut world) = World::start_without_watch_cache().await else { return };
    let maps = Maps::of(&world, "shop");
    world.create(&slice("a", pods([1]))).await;
    maps.create(&map("orders", "service_config.json", &policy("random").to_string())).await;
    let config = world.config(KubeUser::Reader).with_watch_timeout(SECOND).unwrap().with_service_config_map("orders").unwrap();
    let mut seen = Seen::watch(config);
    seen.until("read", |state| state.is([1]) && is(state, &policy("random"))).await;
    let updates = seen.now().updates;
    world.server.pause().unwrap();
    world.server.resume().unwrap();
    for number in 0..5 {
        maps.create(&map(&format!("other-{number}"), "a", "b")).await;
    }
    world.server.etcd().compact().unwrap();
    maps.replace(&map("orders", "service_config.json", &policy("round_robin").to_string())).await;
    seen.until("changed", |state| is(state, &policy("round_robin"))).await;
    assert_eq!(seen.now().updates, updates + 1, "once: {:?}", seen.now());
}
