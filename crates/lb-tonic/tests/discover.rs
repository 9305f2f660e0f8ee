//! Adapters between tower's `Discover` and resolvers, both ways.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lb_core::{Address, Endpoint, Resolver, ResolverUpdate, Target, Trigger};
use lb_testkit::FakeResolver;
use lb_tonic::{Changes, DiscoverResolver};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::discover::Change;

type Item = Result<Change<u32, Address>, std::io::Error>;

fn address(index: u32) -> Address {
    format!("10.0.0.{index}:1").parse().expect("an address")
}

fn endpoint(index: u32) -> Endpoint {
    Endpoint::new(address(index))
}

fn keys(update: &ResolverUpdate) -> Vec<String> {
    update.endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect()
}

fn target(scheme: &str) -> Target {
    Target::parse(&format!("{scheme}:///orders"), &|_| true).expect("a target")
}

fn discover() -> (mpsc::UnboundedSender<Item>, DiscoverResolver<UnboundedReceiverStream<Item>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, DiscoverResolver::new(UnboundedReceiverStream::new(receiver), |_, address| Endpoint::new(address)))
}

#[tokio::test]
async fn changes_that_are_ready_together_are_one_set() {
    let (sender, resolver) = discover();
    for index in 1..=3 {
        sender.send(Ok(Change::Insert(index, address(index)))).unwrap();
    }
    sender.send(Ok(Change::Remove(2))).unwrap();
    let mut updates = resolver.resolve(&target("discover"), Trigger::pair().1);
    assert_eq!(keys(&updates.next().await.unwrap().unwrap()), ["10.0.0.1:1", "10.0.0.3:1"]);
    assert!(updates.next().now_or_never().is_none(), "no change, no set");
    sender.send(Ok(Change::Insert(1, address(9)))).unwrap();
    assert_eq!(keys(&updates.next().await.unwrap().unwrap()), ["10.0.0.3:1", "10.0.0.9:1"]);
}

#[tokio::test]
async fn a_second_reader_is_refused_and_the_next_goes_on_where_the_first_stopped() {
    let (sender, resolver) = discover();
    sender.send(Ok(Change::Insert(1, address(1)))).unwrap();
    let mut first = resolver.resolve(&target("discover"), Trigger::pair().1);
    assert_eq!(keys(&first.next().await.unwrap().unwrap()), ["10.0.0.1:1"]);
    let refused = resolver.resolve(&target("discover"), Trigger::pair().1).next().await.unwrap();
    assert!(refused.unwrap_err().to_string().contains("another channel"));
    drop(first);
    let mut second = resolver.resolve(&target("discover"), Trigger::pair().1);
    assert_eq!(keys(&second.next().await.unwrap().unwrap()), ["10.0.0.1:1"]);
}

#[tokio::test]
async fn an_error_keeps_the_set_and_is_the_last_word() {
    let (sender, resolver) = discover();
    let mut updates = resolver.resolve(&target("discover"), Trigger::pair().1);
    sender.send(Err(std::io::Error::other("gone"))).unwrap();
    assert!(updates.next().await.unwrap().unwrap_err().to_string().contains("gone"));
    sender.send(Ok(Change::Insert(1, address(1)))).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), updates.next()).await.is_err());
}

#[tokio::test]
async fn a_resolver_becomes_changes_and_its_errors_remove_nothing() {
    let (resolver, handle) = FakeResolver::new("fake");
    let mut changes = Changes::new(&resolver, &target("fake"), |endpoint| endpoint.key().to_string());
    handle.update(ResolverUpdate::new(vec![endpoint(1), endpoint(2)]));
    let mut inserted = Vec::new();
    for _ in 0..2 {
        let Ok::<_, Infallible>(Change::Insert(key, service)) = changes.next().await.unwrap() else { panic!("an insert") };
        assert_eq!(key.as_str(), service);
        inserted.push(service);
    }
    assert_eq!(inserted, ["10.0.0.1:1", "10.0.0.2:1"]);
    handle.error(lb_core::ResolveError::new(lb_core::ResolveErrorKind::Unavailable, "no answer"));
    handle.update(ResolverUpdate::new(vec![endpoint(2).with_weight(9), endpoint(3)]));
    let Ok(Change::Remove(gone)) = changes.next().await.unwrap() else { panic!("a removal") };
    assert_eq!(gone.as_str(), "10.0.0.1:1");
    let Ok(Change::Insert(key, _)) = changes.next().await.unwrap() else { panic!("an insert") };
    assert_eq!(key.as_str(), "10.0.0.3:1");
    assert!(changes.next().now_or_never().is_none(), "a change of weight is no change");
}
