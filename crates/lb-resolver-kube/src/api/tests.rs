//! What the real server does with histories it no longer has.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use lb_testkit::services::{self, KubeApi, KubeUser};

use super::*;
use crate::access;
use crate::config::Cluster;
use crate::slice::Slice;

#[test]
fn a_servers_words_cannot_change_the_request() {
    assert_eq!(encode("abc-1.2_~"), "abc-1.2_~");
    assert_eq!(encode("a&b=c #é\r\n"), "a%26b%3Dc%20%23%C3%A9%0D%0A");
}

async fn api(server: &KubeApi) -> Api {
    let timeout = Duration::from_secs(30);
    let path = Some(server.kubeconfig(KubeUser::Admin, "shop").unwrap());
    let client = access::open(Cluster::Kubeconfig { path, context: None }, timeout).await.unwrap();
    Api::new(client, Selection::slices("shop".to_owned(), "orders"), timeout, 1 << 20)
}

async fn create(api: &Api, name: &str) {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"kubernetes.io/service-name":"orders"}}}},"addressType":"IPv4","endpoints":[]}}"#
    );
    let slice: EndpointSlice = serde_json::from_str(&text).unwrap();
    kube::Api::namespaced(api.client.clone(), "shop").create(&PostParams::default(), &slice).await.unwrap();
}

/// Whether a watch is refused, before it begins or as its first line.
async fn watch_is_refused(api: &Api, version: &str) -> Failure {
    match api.watch(version, 5).await {
        Ok(mut watch) => watch.next::<Slice>().await.expect_err("no history"),
        Err(failure) => failure,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compacted_history_is_gone_for_a_page_and_for_a_watch() {
    let (Some(root), Some(etcd)) = (services::require("kubeapi"), services::require("etcd")) else { return };
    let mut server = KubeApi::start_without_watch_cache(&root, &etcd).unwrap();
    let api = api(&server).await;
    create(&api, "a").await;
    create(&api, "b").await;
    let (page, bytes) = api.page::<Slice>(1, "", 1 << 20).await.unwrap();
    let (next, version) = (encode(&page.metadata.next.unwrap()), page.metadata.resource_version);
    assert_eq!((page.items.unwrap().len(), bytes > 0), (1, true));
    assert_eq!(api.page::<Slice>(1, &next, 1 << 20).await.unwrap().0.items.unwrap()[0].metadata.name, "b");

    create(&api, "c").await;
    create(&api, "d").await;
    server.etcd().compact().unwrap();
    let failure = api.page::<Slice>(1, &next, 1 << 20).await.unwrap_err();
    assert!(failure.gone && failure.message.contains("410"), "{failure:?}");
    let failure = watch_is_refused(&api, &version).await;
    assert!(failure.gone && failure.message.contains("410"), "{failure:?}");
    assert_eq!(api.list().await.unwrap().0.slices().count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_has_no_history() {
    let (Some(root), Some(etcd)) = (services::require("kubeapi"), services::require("etcd")) else { return };
    let mut server = KubeApi::start(&root, &etcd).unwrap();
    let api = api(&server).await;
    create(&api, "a").await;
    let (_, version) = api.list().await.unwrap();
    for name in ["b", "c"] {
        create(&api, name).await;
    }
    server.kill().unwrap();
    server.restart().unwrap();
    let failure = watch_is_refused(&api, &version).await;
    assert!(failure.gone && failure.message.contains("410"), "{failure:?}");
}
