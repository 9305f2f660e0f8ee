//! Who may not, and who is not known.

use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_resolver_kube::KubernetesConfig;
use lb_testkit::services::KubeUser;

use crate::world::{Seen, World, pods, slice};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_is_missing() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods([1]))).await;
    let mut denied = Seen::watch(world.config(KubeUser::Denied));
    denied.until("403", |state| !state.errors.is_empty()).await;
    let (kind, message) = denied.now().errors[0].clone();
    assert_eq!(kind, ResolveErrorKind::Refused);
    let wanted = "403: needs get, list, watch on endpointslices.discovery.k8s.io in namespace shop, and may not list";
    assert!(message.contains(wanted) && message.contains("User \"denied\" cannot list"), "{message}");

    let mut unknown = Seen::watch(world.config(KubeUser::Unknown));
    unknown.until("401", |state| !state.errors.is_empty()).await;
    assert_eq!(unknown.now().errors[0].0, ResolveErrorKind::Refused);
    assert!(unknown.now().last_error().contains("401: the API server does not accept the credentials"), "{:?}", unknown.now());

    // Who may list but not watch gets what there is, and is told.
    let mut lists = Seen::watch(world.config(KubeUser::NoWatch));
    lists.until("listed and told", |state| state.is([1]) && !state.errors.is_empty()).await;
    assert!(lists.now().last_error().contains("in namespace shop, and may not watch"), "{:?}", lists.now());
    assert!(denied.now().errors.len() < 5, "no hot loop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_become_good_are_taken() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods([1]))).await;
    let path = world.server.kubeconfig(KubeUser::Unknown, "shop").unwrap();
    let copy = path.with_extension("rotated");
    std::fs::copy(&path, &copy).unwrap();
    let mut seen = Seen::watch(KubernetesConfig::new().with_kubeconfig(Some(copy.clone())));
    seen.until("401", |state| !state.errors.is_empty()).await;
    let good = world.server.kubeconfig(KubeUser::Reader, "shop").unwrap();
    std::fs::rename(good, copy).unwrap();
    let took = seen.until("accepted", |state| state.is([1])).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cluster_the_stream_says_so() {
    let nowhere = std::env::temp_dir().join("evenkeel-no-such-kubeconfig");
    let mut seen = Seen::watch(KubernetesConfig::new().with_kubeconfig(Some(nowhere)));
    seen.until("told", |state| !state.errors.is_empty()).await;
    let (kind, message) = seen.now().errors[0].clone();
    assert_eq!(kind, ResolveErrorKind::Unavailable);
    assert!(message.contains("evenkeel-no-such-kubeconfig cannot be used"), "{message}");
}
