//! Slices that come, change and go.

use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use lb_core::{Locality, RegistryHealth, ResolveErrorKind};
use lb_testkit::services::KubeUser;

use crate::world::{Seen, World, key, pod, pods, slice, slice_of, with_conditions};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_are_created_changed_and_deleted() {
    let Some(world) = World::start().await else { return };
    let mut seen = world.watch();
    seen.until("no service", |state| state.errors.len() == 1).await;
    assert_eq!(seen.now().errors[0].0, ResolveErrorKind::NotFound);
    assert!(seen.now().last_error().contains("no EndpointSlice of service orders in namespace shop"), "{:?}", seen.now());

    world.create(&slice("a", pods([1, 2]))).await;
    world.create(&slice_of("others", "o", pods([9]))).await;
    assert!(seen.until("created", |state| state.is([1, 2])).await < SECOND);
    world.replace(&slice("a", pods([1, 3]))).await;
    assert!(seen.until("changed", |state| state.is([1, 3])).await < SECOND);
    world.create(&slice("b", pods([3, 4]))).await;
    assert!(seen.until("merged", |state| state.is([1, 3, 4])).await < SECOND);
    world.delete("a").await;
    assert!(seen.until("deleted", |state| state.is([3, 4])).await < SECOND);
    // A slice that is given to another service is deleted for this one.
    let relabel = serde_json::json!({ "metadata": { "labels": { "kubernetes.io/service-name": "others" } } });
    world.create(&slice("c", pods([5]))).await;
    seen.until("a third", |state| state.is([3, 4, 5])).await;
    world.slices.patch("c", &PatchParams::default(), &Patch::Merge(&relabel)).await.unwrap();
    assert!(seen.until("relabelled", |state| state.is([3, 4])).await < SECOND);
    // Scaled to nothing.
    world.replace(&slice("b", vec![])).await;
    assert!(seen.until("empty", |state| state.set.is_empty()).await < SECOND);
    world.replace(&slice("b", pods([6]))).await;
    seen.until("scaled up", |state| state.is([6])).await;
    world.delete("b").await;
    seen.until("the service is gone", |state| state.errors.len() == 2).await;
    assert!(seen.now().is([6]) && seen.now().errors[1].0 == ResolveErrorKind::NotFound);
    assert_eq!(seen.now().updates, 8, "each set once: {:?}", seen.now());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_flaps_in_bursts_end_in_the_truth() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods(0..5))).await;
    let mut seen = world.watch();
    seen.until("the beginning", |state| state.is(0..5)).await;
    for burst in 0..10 {
        for flap in 0..100 {
            world.replace(&slice("a", pods((0..5).chain([10 + flap % 7])))).await;
        }
        world.replace(&slice("a", pods((0..5).chain([100 + burst])))).await;
        let took = seen.until("the end of a burst", |state| state.is((0..5).chain([100 + burst]))).await;
        assert!(took < SECOND, "{took:?}");
    }
    let state = seen.now();
    assert!(state.errors.is_empty() && state.updates < 500, "gathered: {} updates, {:?}", state.updates, state.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_services_over_several_slices() {
    let Some(world) = World::start().await else { return };
    for (name, range) in [("a", 0..100), ("b", 100..200), ("c", 200..250)] {
        world.create(&slice(name, pods(range))).await;
    }
    let mut seen = world.watch();
    seen.until("250", |state| state.is(0..250)).await;
    world.delete("b").await;
    assert!(seen.until("one slice less", |state| state.is((0..100).chain(200..250))).await < SECOND);
    world.create(&slice("b", pods(100..200))).await;
    world.replace(&slice("c", pods(200..300))).await;
    for part in 3..10 {
        world.create(&slice(&format!("part-{part}"), pods(part * 100..part * 100 + 100))).await;
    }
    assert!(seen.until("1000", |state| state.is(0..1000)).await < SECOND);
    let mut late = world.watch();
    late.until("1000 from a list", |state| state.is(0..1000)).await;
    assert_eq!(late.now().updates, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_end_are_drained_and_not_dropped() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods([1, 2]))).await;
    let mut seen = world.watch();
    seen.until("two", |state| state.is([1, 2])).await;
    let health = |state: &crate::world::State, number| state.set.get(&key(number)).copied();
    world.replace(&slice("a", vec![pod(1), with_conditions(pod(2), false, true, true)])).await;
    seen.until("draining", |state| health(state, 2) == Some(RegistryHealth::Draining)).await;
    assert_eq!(health(&seen.now(), 1), Some(RegistryHealth::Healthy));
    world.replace(&slice("a", vec![pod(1), with_conditions(pod(2), false, false, true)])).await;
    world.create(&slice("b", vec![with_conditions(pod(3), false, false, false)])).await;
    seen.until("unready", |state| health(state, 3) == Some(RegistryHealth::Unhealthy)).await;
    assert_eq!(health(&seen.now(), 2), Some(RegistryHealth::Draining));
    world.replace(&slice("a", vec![pod(1)])).await;
    seen.until("gone", |state| state.is([1, 3])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_of_a_pod_come_together() {
    let Some(world) = World::start().await else { return };
    let mut seen = world.watch();
    let mut v6 = pod(1);
    v6.addresses = vec!["fd00::1".to_owned()];
    world.create(&slice("v4", pods([1]))).await;
    world.create(&EndpointSlice { address_type: "IPv6".to_owned(), ..slice("v6", vec![v6]) }).await;
    seen.until("one endpoint of two addresses", |state| state.keys() == ["10.0.0.2:50051,[fd00::1]:50051"]).await;
    assert!(seen.now().updates <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_say_where_endpoints_are_if_asked_for() {
    let Some(world) = World::start().await else { return };
    world.create_node("n1", "eu", "eu-1").await;
    let mut somewhere = pods([1, 2, 3]);
    somewhere[0].node_name = Some("n1".to_owned());
    somewhere[1].node_name = Some("n1".to_owned());
    somewhere[1].zone = Some("eu-2".to_owned());
    somewhere[2].node_name = Some("gone".to_owned());
    world.create(&slice("a", somewhere)).await;
    let place = |state: &crate::world::State, number| state.places[&key(number)].clone();
    let mut asked = Seen::watch(world.config(KubeUser::Reader).with_node_topology(true));
    asked.until("all", |state| state.is([1, 2, 3])).await;
    assert_eq!(place(&asked.now(), 1), Locality::new("eu", "eu-1", ""));
    assert_eq!(place(&asked.now(), 2), Locality::new("eu", "eu-2", ""), "what the slice says is nearer");
    assert_eq!(place(&asked.now(), 3), Locality::default());
    // Without the right, and without asking.
    for config in [world.config(KubeUser::NoGet).with_node_topology(true), world.config(KubeUser::Reader)] {
        let mut without = Seen::watch(config);
        without.until("all the same", |state| state.is([1, 2, 3])).await;
        assert_eq!(place(&without.now(), 1), Locality::default());
        assert_eq!(place(&without.now(), 2), Locality::new("", "eu-2", ""));
        assert_eq!(without.now().errors, []);
    }
}
