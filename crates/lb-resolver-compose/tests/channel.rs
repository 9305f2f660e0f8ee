//! Compositions under real channels that call real servers.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::fs;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::path::PathBuf;
use std::time::Duration;

use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Resolver;
use lb_resolver_compose::CachedResolver;
use lb_resolver_compose::FallbackResolver;
use lb_resolver_compose::FilteredResolver;
use lb_resolver_compose::MergedResolver;
use lb_resolver_compose::Source;
use lb_testkit::EchoServer;
use lb_testkit::FakeResolver;
use lb_testkit::FakeResolverHandle;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use lb_tonic::PickOptions;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(30);

fn fake(scheme: &'static str) -> (Source, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new(scheme);
    (Source::whole(resolver), handle)
}

fn down() -> ResolveError {
    ResolveError::new(ResolveErrorKind::Unavailable, "the registry is down")
}

fn channel(resolver: impl Resolver) -> LbChannel {
    LbChannel::builder("orders:///orders.test").resolver(resolver).build().unwrap()
}

/// Which server answers a call that waits for one.
async fn answered_by(channel: &LbChannel) -> String {
    let mut request = tonic::Request::new(EchoRequest::default());
    request.set_timeout(PATIENCE);
    request.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
    EchoClient::new(channel.clone()).unary(request).await.unwrap().into_inner().server
}

async fn servers() -> (EchoServer, EchoServer) {
    (EchoServer::start("one").await.unwrap(), EchoServer::start("two").await.unwrap())
}

async fn listed(channel: &LbChannel, servers: &[&EchoServer]) {
    let mut wanted: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    wanted.sort();
    let listed = async {
        loop {
            let mut keys: Vec<String> = channel.endpoints().iter().map(|endpoint| endpoint.key.to_string()).collect();
            keys.sort();
            if keys == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.unwrap_or_else(|_| panic!("{wanted:?}: {:?}", channel.endpoints()));
}

#[tokio::test]
async fn a_migration_from_one_registry_to_another_loses_no_call() {
    let (one, two) = servers().await;
    let ((old, in_old), (new, in_new)) = (fake("old"), fake("new"));
    let channel = channel(MergedResolver::new("orders", [old, new]));
    in_old.endpoints([one.endpoint()]);
    in_new.endpoints([]);
    assert_eq!(answered_by(&channel).await, "one");
    in_new.endpoints([two.endpoint(), one.endpoint()]);
    listed(&channel, &[&one, &two]).await;
    in_old.error(down());
    answered_by(&channel).await;
    listed(&channel, &[&one, &two]).await;
    in_old.endpoints([]);
    in_new.endpoints([two.endpoint()]);
    listed(&channel, &[&two]).await;
    assert_eq!(answered_by(&channel).await, "two");
}

#[tokio::test]
async fn a_secondary_registry_serves_while_the_primary_is_down() {
    let (one, two) = servers().await;
    let ((primary, in_primary), (secondary, in_secondary)) = (fake("primary"), fake("secondary"));
    let channel = channel(FallbackResolver::new("orders", primary, secondary).with_after(Duration::from_millis(50)));
    in_secondary.endpoints([two.endpoint()]);
    in_primary.error(down());
    assert_eq!(answered_by(&channel).await, "two");
    in_primary.endpoints([one.endpoint()]);
    listed(&channel, &[&one]).await;
    assert_eq!(answered_by(&channel).await, "one");
    assert_eq!(in_secondary.watching(), 0);
}

#[tokio::test]
async fn a_start_while_the_registry_is_down_calls_what_the_last_run_knew() {
    let (one, _two) = servers().await;
    let path: PathBuf = std::env::temp_dir().join(format!("evenkeel-start-{:016x}", RandomState::new().hash_one(0)));
    let cached = |source| CachedResolver::new("orders", source, &path).with_start_up(Duration::from_secs(3600));

    let (source, registry) = fake("registry");
    registry.endpoints([one.endpoint()]);
    let first = channel(cached(source));
    assert_eq!(answered_by(&first).await, "one");
    let written = async {
        while fs::metadata(&path).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("written");
    drop(first);

    let (source, registry) = fake("registry");
    registry.error(down());
    let second = channel(cached(source));
    assert_eq!(answered_by(&second).await, "one");
    registry.error(down());
    assert_eq!(answered_by(&second).await, "one", "errors take nothing away");
    drop(fs::remove_file(&path));
}

#[tokio::test]
async fn a_subset_is_all_the_channel_connects_to() {
    let (one, two) = servers().await;
    let (source, registry) = fake("registry");
    let mut able: Endpoint = two.endpoint();
    able.attributes.capabilities = ["gpu".into()].into();
    registry.endpoints([one.endpoint(), able]);
    let channel = channel(FilteredResolver::new("orders", source).capability("gpu"));
    for _ in 0..10 {
        assert_eq!(answered_by(&channel).await, "two");
    }
    assert_eq!(one.accepted(), 0);
}
