//! Service configs end to end: where they come from, which of them counts, and what they mean to calls.

mod a21;
mod health;
mod limits;
mod methods;
mod policies;

use std::time::Duration;

use evenkeel::{LbChannel, LbChannelBuilder, LbEvent, ResolverUpdate, ServiceConfigUpdate};
use lb_testkit::pb::EchoRequest;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle};
use serde_json::{Value, json};
use tonic::Request;

use crate::support::{quick_backoff, request, until};

/// A channel whose resolver the test plays.
fn fake() -> (LbChannelBuilder, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    (LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff()), handle)
}

/// What a resolver says of these servers, with a config.
fn listing<'a>(servers: impl IntoIterator<Item = &'a EchoServer>, config: impl Into<ServiceConfigUpdate>) -> ResolverUpdate {
    let endpoints = servers.into_iter().map(EchoServer::endpoint).collect();
    ResolverUpdate::new(endpoints).with_service_config(config.into())
}

/// A config for all methods.
fn for_all(fields: Value) -> Value {
    let mut method = fields;
    method["name"] = json!([{}]);
    json!({"methodConfig": [method]})
}

/// Its timeout is wrong.
fn bad() -> Value {
    for_all(json!({"timeout": "3c"}))
}

fn policy(name: &str) -> Value {
    json!({"loadBalancingConfig": [{name: {}}]})
}

fn slow(delay: Duration) -> Request<EchoRequest> {
    Request::new(EchoRequest { delay_ms: delay.as_millis() as u32, ..request("x") })
}

/// Waits until the channel says that another config counts.
async fn until_changed(events: &mut evenkeel::Events) {
    while !matches!(next(events).await, LbEvent::ConfigChanged(_)) {}
}

async fn next(events: &mut evenkeel::Events) -> LbEvent {
    crate::support::soon("an event", events.next()).await.expect("the channel is open")
}

async fn until_policy(channel: &LbChannel, policy: &str) {
    until(&format!("{policy} picks"), || channel.policy() == policy).await;
}
