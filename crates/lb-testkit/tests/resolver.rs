//! The fake resolver.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use common::soon;
use futures_util::StreamExt;
use lb_core::{Address, Endpoint, Resolver, Trigger};
use lb_testkit::FakeResolver;

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse::<Address>().unwrap())
}

#[tokio::test]
async fn it_says_what_it_is_told_and_remembers_what_it_was_asked() {
    let (resolver, handle) = FakeResolver::new("fake");
    assert_eq!(resolver.schemes(), ["fake"]);
    let (again, listening) = Trigger::pair();
    handle.endpoints([endpoint("10.0.0.1:1")]);
    let target = lb_core::Target::parse("fake:///orders", &|scheme| scheme == "fake").unwrap();
    let mut answers = resolver.resolve(&target, listening);
    assert_eq!(answers.next().await.unwrap().unwrap().endpoints.len(), 1);
    handle.unavailable("down");
    assert_eq!(answers.next().await.unwrap().unwrap_err().message(), "down");

    again.fire();
    let waiting = tokio::spawn(async move { (answers.next().await.is_none(), answers) });
    soon(handle.asked_again(1)).await;
    assert_eq!((handle.resolves(), handle.watching(), handle.again()), (1, 1, 1));
    assert_eq!(handle.targets(), [target]);
    handle.end();
    let (ended, answers) = soon(waiting).await.unwrap();
    assert!(ended);
    drop(answers);
    assert_eq!(handle.watching(), 0);
}
