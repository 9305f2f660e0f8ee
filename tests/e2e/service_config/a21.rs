//! A config that cannot be used never replaces one that can, and its addresses count all the same (gRFC A21).

use std::time::Duration;

use evenkeel::ConnectivityState::TransientFailure;
use evenkeel::service_config::ConfigSource;
use evenkeel::{LbChannel, LbEvent, PickOptions, ServiceConfigUpdate};
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::json;
use tonic::Code;

use super::{bad, fake, for_all, listing, next, policy, slow, until_changed, until_policy};
use crate::support::{call, ready, servers, soon, target_of, until};

#[tokio::test]
async fn bad_first_fails_calls_with_what_is_wrong_and_good_recovers() {
    let server = EchoServer::start("s").await.unwrap();
    for broken in [ServiceConfigUpdate::Json(bad()), "no JSON".into(), ServiceConfigUpdate::Json(json!([]))] {
        let (builder, resolver) = fake();
        let channel = builder.build().unwrap();
        let mut events = channel.subscribe();
        resolver.update(listing([&server], broken.clone()));
        let status = call(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("service config was refused"), "{status}");
        assert_eq!(channel.state(), TransientFailure);
        assert!(channel.resolver().refused_config.is_some());
        let waiting = tokio::spawn({
            let mut asked = slow(Duration::ZERO);
            asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
            let mut client = EchoClient::new(channel.clone());
            async move { client.unary(asked).await }
        });
        // It was asked again, by itself.
        soon("the resolver is asked again", resolver.asked_again(1)).await;
        assert!(!waiting.is_finished());
        resolver.update(listing([&server], policy("random")));
        soon("the call that waits", waiting).await.unwrap().unwrap();
        call(&channel).await.unwrap();
        assert_eq!((channel.policy().as_str(), channel.resolver().refused_config), ("random", None));
        let mut refused = 0;
        loop {
            match next(&mut events).await {
                LbEvent::ConfigRefused(_) => refused += 1,
                LbEvent::ConfigChanged(source) => break assert_eq!(source, ConfigSource::Resolver),
                _ => {}
            }
        }
        assert_eq!(refused, 1);
    }
}

#[tokio::test]
async fn bad_first_is_no_matter_with_a_default_to_go_by() {
    let server = EchoServer::start("s").await.unwrap();
    let (builder, resolver) = fake();
    let channel = builder.service_config(policy("random")).build().unwrap();
    resolver.update(listing([&server], bad()));
    call(&channel).await.unwrap();
    assert_eq!(channel.policy(), "random");
}

#[tokio::test]
async fn good_then_bad_keeps_the_policy_and_takes_the_addresses() {
    let servers = servers(2).await;
    let (builder, resolver) = fake();
    let channel = builder.build().unwrap();
    resolver.update(listing(&servers[..1], policy("random")));
    call(&channel).await.unwrap();
    let mut events = channel.subscribe();
    resolver.update(listing(&servers[1..], bad()));
    until("the new address is there", || channel.endpoints()[0].key.as_str() == servers[1].addr().to_string()).await;
    ready(&channel, 1).await;
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "s1");
    assert_eq!(channel.policy(), "random");
    let reason = loop {
        if let LbEvent::ConfigRefused(reason) = next(&mut events).await {
            break reason;
        }
    };
    assert!(reason.contains("methodConfig[0].timeout") && reason.contains("3c"), "{reason}");
    assert_eq!(channel.resolver().refused_config, Some(reason));
}

#[tokio::test]
async fn none_at_all_is_the_default_again() {
    let server = EchoServer::start("s").await.unwrap();
    let (builder, resolver) = fake();
    let channel = builder.policy("least_request").build().unwrap();
    resolver.update(listing([&server], policy("random")));
    call(&channel).await.unwrap();
    assert_eq!(channel.policy(), "random");
    resolver.update(listing([&server], ServiceConfigUpdate::Absent));
    until_policy(&channel, "least_request").await;
    assert_eq!(channel.service_config(), None);
    // And a bad one after none was accepted changes nothing.
    resolver.update(listing([&server], bad()));
    until("it was refused", || channel.resolver().refused_config.is_some()).await;
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn the_resolvers_configs_can_be_switched_off() {
    let servers = servers(2).await;
    let (builder, resolver) = fake();
    let channel = builder.service_config(policy("random")).resolver_service_config(false).build().unwrap();
    resolver.update(listing(&servers[..1], bad()));
    call(&channel).await.unwrap();
    resolver.update(listing(&servers, policy("pick_first")));
    ready(&channel, 2).await;
    assert_eq!(channel.policy(), "random", "what came with the second endpoint does not count");
    resolver.update(listing(&servers[1..], ServiceConfigUpdate::Absent));
    until("the first endpoint is gone", || channel.endpoints().len() == 1).await;
    call(&channel).await.unwrap();
    assert_eq!((channel.policy().as_str(), channel.resolver().refused_config), ("random", None));
}

#[tokio::test]
async fn a_default_that_is_wrong_is_an_error_when_the_channel_is_built() {
    let build = |config: ServiceConfigUpdate| LbChannel::builder("static:///127.0.0.1:1").service_config(config).build();
    let error = build(bad().into()).unwrap_err().to_string();
    assert!(error.contains("methodConfig[0].timeout"), "{error}");
    let error = build("{".into()).unwrap_err().to_string();
    assert!(error.contains("JSON"), "{error}");
    assert!(build("{\"loadBalancingPolicy\": \"pick_first\"}".into()).is_ok());
}

#[tokio::test]
async fn the_programs_config_at_run_time_and_back() {
    let servers = servers(2).await;
    let channel = LbChannel::builder(target_of(&servers)).service_config(policy("random")).build().unwrap();
    call(&channel).await.unwrap();
    assert_eq!(channel.policy(), "random");
    let mut events = channel.subscribe();
    let error = channel.set_service_config(bad()).unwrap_err();
    assert_eq!((error.field.as_str(), error.value.as_str()), ("methodConfig[0].timeout", "\"3c\""));
    assert!(channel.set_service_config("nonsense").is_err());
    let mut config = for_all(json!({"timeout": "0.05s"}));
    config["loadBalancingConfig"] = json!([{"least_request": {}}]);
    channel.set_service_config(config).unwrap();
    until_changed(&mut events).await;
    until_policy(&channel, "least_request").await;
    assert_eq!(
        EchoClient::new(channel.clone()).unary(slow(Duration::from_secs(20))).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert!(channel.service_config().is_some_and(|config| !config.methods.is_empty()));
    // Said in order, done in order.
    channel.set_service_config(policy("pick_first")).unwrap();
    channel.set_policy("round_robin", &json!({})).unwrap();
    until_policy(&channel, "round_robin").await;
    channel.set_service_config(ServiceConfigUpdate::Absent).unwrap();
    until_policy(&channel, "random").await;
    call(&channel).await.unwrap();
}
