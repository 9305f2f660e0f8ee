//! What one call can wish for, by an interceptor and by its own extensions.

use evenkeel::{CallError, LbChannel, PickOptions, PickedEndpoint, PolicyChoice};
use lb_testkit::pb::EchoReply;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, ReservedPort};
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use crate::support::{call_error, quick_backoff, ready, request, servers, soon, target, target_of};

async fn ask(channel: &LbChannel, options: PickOptions) -> Result<Response<EchoReply>, Status> {
    let mut asked = Request::new(request("x"));
    asked.extensions_mut().insert(options);
    soon("a call with options", EchoClient::new(channel.clone()).unary(asked)).await
}

async fn three() -> (Vec<EchoServer>, LbChannel) {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target_of(&servers)).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 3).await;
    (servers, channel)
}

#[tokio::test]
async fn a_built_in_policy_is_added_when_a_call_first_asks_for_it() {
    let (_servers, channel) = three().await;
    for policy in ["random", "least_request", "weighted_round_robin", "round_robin", "pick_first"] {
        // Several at once: all wait for the policy, which is added once.
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { ask(&channel, PickOptions::new().policy(policy)).await })
            })
            .collect();
        for call in calls {
            soon(policy, call).await.unwrap().unwrap();
        }
    }
    assert_eq!(channel.policy(), "round_robin", "the channel's own stays");
}

#[tokio::test]
async fn an_unknown_policy_is_internal_and_lists_what_there_is() {
    let (_servers, channel) = three().await;
    for _ in 0..3 {
        let status = ask(&channel, PickOptions::new().policy("nonesuch").wait_for_ready(true)).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(matches!(call_error(&status), Some(CallError::UnknownPolicy { .. })), "{status:?}");
        assert!(status.message().contains("nonesuch") && status.message().contains("round_robin"), "{status}");
    }
    assert!(ask(&channel, PickOptions::new().policy("pick_first")).await.is_ok());
}

#[tokio::test]
async fn further_policies_are_there_from_the_start_with_their_configuration() {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target_of(&servers))
        .policy(PolicyChoice::from_service_config(json!([{"nonesuch": {}}, {"random": {}}])))
        .further_policy(("least_request", json!({"choiceCount": 3})))
        .build()
        .unwrap();
    ask(&channel, PickOptions::new().policy("least_request")).await.unwrap();
    assert_eq!(channel.policy(), "random");
    let bad = LbChannel::builder(target_of(&servers)).policy(("least_request", json!({"choiceCount": "many"}))).build();
    assert!(bad.unwrap_err().to_string().contains("choiceCount"));
}

#[tokio::test]
async fn a_pin_goes_there_or_nowhere() {
    let (servers, channel) = three().await;
    for server in &servers {
        for _ in 0..5 {
            let reply = ask(&channel, PickOptions::new().pin(&*server.addr().to_string())).await.unwrap();
            assert_eq!(reply.into_inner().server, server.name());
        }
    }
    let status = ask(&channel, PickOptions::new().pin("10.0.0.1:1")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().ends_with("of 3 endpoints: 3 not the pinned 10.0.0.1:1"), "{status}");
}

#[tokio::test]
async fn a_pin_to_one_that_is_down_fails_with_its_error_or_waits_for_it() {
    let good = EchoServer::start("good").await.unwrap();
    let dead = ReservedPort::new().unwrap();
    let channel = LbChannel::builder(target([good.addr(), dead.addr()])).backoff(quick_backoff()).build().unwrap();
    let key = dead.addr().to_string();
    let status = ask(&channel, PickOptions::new().pin(&*key)).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains(&key), "{status}");
    let waiting = tokio::spawn({
        let (channel, options) = (channel.clone(), PickOptions::new().pin(&*key).wait_for_ready(true));
        async move { ask(&channel, options).await }
    });
    let _late = EchoServer::builder().name("late").bind(dead.addr()).start().await.unwrap();
    assert_eq!(soon("the pinned call", waiting).await.unwrap().unwrap().into_inner().server, "late");
}

#[tokio::test]
async fn exclusions_are_avoided_and_may_leave_nobody() {
    let (servers, channel) = three().await;
    let keys: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    for policy in ["round_robin", "random", "least_request", "weighted_round_robin"] {
        for _ in 0..10 {
            let options = PickOptions::new().policy(policy).exclude(&*keys[0]).exclude(&*keys[1]);
            assert_eq!(ask(&channel, options).await.unwrap().into_inner().server, "s2", "{policy}");
        }
    }
    // It keeps one connection, and does not make another for one call.
    let status = ask(&channel, PickOptions::new().policy("pick_first").exclude(&*keys[0])).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("pick_first"), "{status}");
    let nobody = keys.iter().fold(PickOptions::new(), |options, key| options.exclude(&**key));
    let status = ask(&channel, nobody).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().ends_with("of 3 endpoints: 3 excluded"), "{status}");
}

#[tokio::test]
async fn more_restrictions_than_are_remembered_work_all_the_same() {
    let (_servers, channel) = three().await;
    let excluded = channel.endpoints()[0].key.clone();
    for n in 0..200 {
        let options = PickOptions::new().exclude(excluded.clone()).exclude(&*format!("10.0.0.{n}:1"));
        assert_ne!(ask(&channel, options).await.unwrap().into_inner().server, "s0");
    }
}

#[tokio::test]
async fn an_interceptor_holds_for_every_call_and_the_call_wins() {
    let (servers, channel) = three().await;
    let keys: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    let mut client = EchoClient::with_interceptor(channel, PickOptions::new().pin(&*keys[1]).exclude(&*keys[0]));
    for _ in 0..5 {
        assert_eq!(client.unary(request("x")).await.unwrap().into_inner().server, "s1");
        let mut asked = Request::new(request("x"));
        asked.extensions_mut().insert(PickOptions::new().pin(&*keys[2]));
        assert_eq!(client.unary(asked).await.unwrap().into_inner().server, "s2");
    }
}

#[tokio::test]
async fn an_interceptor_of_the_users_own_can_give_options_and_metadata() {
    let server = EchoServer::builder().name("s").record_requests().start().await.unwrap();
    let channel =
        LbChannel::builder(server.target()).authority("orders.example").user_agent("shop/1".parse().unwrap()).build().unwrap();
    let mut client = EchoClient::with_interceptor(channel, |mut request: Request<()>| {
        request.metadata_mut().insert("tenant", "acme".parse().unwrap());
        request.extensions_mut().insert(PickOptions::new().policy("random"));
        Ok(request)
    });
    let reply = client.unary(request("x")).await.unwrap();
    let picked = reply.extensions().get::<PickedEndpoint>().unwrap();
    assert_eq!(picked.endpoint().key().to_string(), server.addr().to_string());
    assert_eq!((picked.address(), picked.attempts()), (&server.address(), 1));
    let head = server.last_request().unwrap();
    assert_eq!((&head.headers["tenant"], head.uri.authority().unwrap().as_str()), (&"acme".parse().unwrap(), "orders.example"));
    assert!(head.headers["user-agent"].to_str().unwrap().contains("shop/1"), "{:?}", head.headers["user-agent"]);
    assert_eq!((&head.headers["te"], head.uri.path()), (&"trailers".parse().unwrap(), "/evenkeel.echo.v1.Echo/Unary"));
}
