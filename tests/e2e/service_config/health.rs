//! `healthCheckConfig`: which service's health is watched, or none (gRFC A17).

use evenkeel::ConnectivityState::{Ready, TransientFailure};
use evenkeel::health::{GrpcHealthCheck, HealthConfig};
use evenkeel::{LbChannel, ServiceConfigUpdate};
use lb_testkit::{EchoServer, ServingStatus};
use serde_json::{Value, json};
use tonic::Code;

use super::{fake, listing};
use crate::support::{call, info, quick_backoff, ready, until, until_state};

fn health(service: &str) -> Value {
    json!({"healthCheckConfig": {"serviceName": service}})
}

#[tokio::test]
async fn gained_changed_and_lost_at_run_time() {
    let server = EchoServer::start("s").await.unwrap();
    server.health().set("a", ServingStatus::NotServing);
    server.health().set("b", ServingStatus::Serving);
    let (builder, resolver) = fake();
    let channel = builder.health_check_by_service_config().build().unwrap();
    resolver.update(listing([&server], ServiceConfigUpdate::Absent));
    ready(&channel, 1).await;
    assert_eq!(server.health().watches(), 0, "nobody says which service");
    call(&channel).await.unwrap();

    resolver.update(listing([&server], health("a")));
    until_state(&channel, server.addr(), TransientFailure).await;
    let status = call(&channel).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("health"), "{status}");

    resolver.update(listing([&server], health("b")));
    until_state(&channel, server.addr(), Ready).await;
    until("the first watch has ended", || server.health().watching() == 1).await;
    assert_eq!(server.health().watches(), 2);

    server.health().set("b", ServingStatus::NotServing);
    until_state(&channel, server.addr(), TransientFailure).await;
    resolver.update(listing([&server], json!({})));
    until_state(&channel, server.addr(), Ready).await;
    until("no watch is left", || server.health().watching() == 0).await;
    call(&channel).await.unwrap();
    assert_eq!((server.accepted(), server.health().watches()), (1, 2), "one connection all along");
}

#[tokio::test]
async fn an_endpoint_that_serves_goes_on_until_the_new_watch_has_an_answer() {
    let server = EchoServer::start("s").await.unwrap();
    let (builder, resolver) = fake();
    let channel = builder.health_check_by_service_config().service_config(health("")).build().unwrap();
    resolver.update(listing([&server], ServiceConfigUpdate::Absent));
    ready(&channel, 1).await;
    assert_eq!(server.health().watches(), 1, "the empty name is the server as a whole");
    server.health().set_watch_fault(lb_testkit::HealthFault::Hang);
    resolver.update(listing([&server], health("silent")));
    until("it is asked", || server.health().watches() == 2).await;
    call(&channel).await.unwrap();
    assert_eq!(info(&channel, server.addr()).state, Ready);
}

#[tokio::test]
async fn a_check_of_ones_own_goes_on_without_a_name_and_follows_one() {
    let server = EchoServer::start("s").await.unwrap();
    server.health().set("mine", ServingStatus::Serving);
    server.health().set("theirs", ServingStatus::NotServing);
    let (builder, resolver) = fake();
    let check = GrpcHealthCheck::new(HealthConfig::watch("mine").with_backoff(quick_backoff()));
    let channel = builder.health(check).build().unwrap();
    resolver.update(listing([&server], json!({})));
    ready(&channel, 1).await;
    assert_eq!(server.health().watches(), 1);
    resolver.update(listing([&server], health("theirs")));
    until_state(&channel, server.addr(), TransientFailure).await;
    resolver.update(listing([&server], json!({})));
    until_state(&channel, server.addr(), Ready).await;
    until("one watch is left", || server.health().watching() == 1).await;
}

#[tokio::test]
async fn without_a_check_a_name_means_nothing() {
    let server = EchoServer::start("s").await.unwrap();
    server.health().set("a", ServingStatus::NotServing);
    let channel = LbChannel::builder(server.target()).service_config(health("a")).build().unwrap();
    call(&channel).await.unwrap();
    channel.set_service_config(health("b")).unwrap();
    until("it is set", || channel.service_config().is_some_and(|config| config.health_service.as_deref() == Some("b"))).await;
    call(&channel).await.unwrap();
    assert_eq!(server.health().watches(), 0);
}
