//! What a call can ask of the endpoint it goes to, against real servers.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::{CallError, Endpoint, LbChannel, Locality, Misfit, Outcome, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, Latency};
use tonic::{Code, Request, Response, Status};

use crate::support::{call_error, info, quick_backoff, ready, request, servers, soon, until};

async fn channel(servers: &[EchoServer], edit: impl Fn(usize, &mut Endpoint)) -> (LbChannel, FakeResolverHandle) {
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).backoff(quick_backoff()).build().unwrap();
    handle.endpoints(endpoints(servers, edit));
    ready(&channel, servers.len()).await;
    (channel, handle)
}

/// Endpoint `n` has the id `s{n}`, as its server has that name.
fn endpoints(servers: &[EchoServer], edit: impl Fn(usize, &mut Endpoint)) -> Vec<Endpoint> {
    let edited = |(number, server): (usize, &EchoServer)| {
        let mut endpoint = server.endpoint();
        endpoint.attributes.id = Some(server.name().into());
        edit(number, &mut endpoint);
        endpoint
    };
    servers.iter().enumerate().map(edited).collect()
}

async fn ask(channel: &LbChannel, options: &PickOptions, asked: EchoRequest) -> Result<String, Status> {
    let mut asked = Request::new(asked);
    asked.extensions_mut().insert(options.clone());
    let reply = soon("a call with wishes", EchoClient::new(channel.clone()).unary(asked)).await;
    reply.map(Response::into_inner).map(|reply| reply.server)
}

/// How many of so many calls each server answers.
async fn count(channel: &LbChannel, options: &PickOptions, calls: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        *counts.entry(ask(channel, options, request("x")).await.unwrap()).or_default() += 1;
    }
    counts
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(server, count)| (server.to_owned(), count)).collect()
}

fn gpu(number: usize, endpoint: &mut Endpoint) {
    endpoint.attributes.capabilities = if number < 2 { ["gpu".into(), "fast".into()].into() } else { ["fast".into()].into() };
}

#[tokio::test]
async fn capabilities_and_names_are_conditions_and_the_error_counts_them() {
    let servers = servers(4).await;
    let (channel, handle) = channel(&servers, gpu).await;
    assert_eq!(count(&channel, &PickOptions::new().require("gpu").require("fast"), 10).await, counts([("s0", 5), ("s1", 5)]));
    assert_eq!(count(&channel, &PickOptions::new().require("gpu").avoid("s0"), 5).await, counts([("s1", 5)]));
    assert_eq!(count(&channel, &PickOptions::new().prefer("s3").prefer("nobody"), 5).await, counts([("s3", 5)]));
    let nobody = PickOptions::new().require("gpu").avoid("s0").avoid(&*servers[1].addr().to_string());
    let status = ask(&channel, &nobody, request("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let Some(CallError::NothingFits { unfit, .. }) = call_error(&status) else { panic!("{status:?}") };
    assert_eq!((unfit.endpoints, unfit.removed_by(&Misfit::Excluded), unfit.removed_by(&Misfit::Lacks("gpu".into()))), (4, 2, 2));
    assert!(status.message().contains("of 4 endpoints: 2 excluded, 2 without gpu"), "{status}");
    // Who waits is served by the endpoint that comes to fit.
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, &nobody.wait_for_ready(true), request("x")).await }
    });
    handle.endpoints(endpoints(&servers, |number, endpoint| gpu(if number == 3 { 0 } else { number }, endpoint)));
    assert_eq!(soon("the call that waits", waiting).await.unwrap().unwrap(), "s3");
}

#[tokio::test]
async fn the_preferred_region_and_else_the_nearest() {
    let servers = servers(6).await;
    servers[2].set_latency(Latency::Fixed(Duration::from_millis(60)));
    servers[3].set_latency(Latency::Fixed(Duration::from_millis(60)));
    let place = |number: usize, endpoint: &mut Endpoint| {
        endpoint.attributes.locality = Locality::new(["eu", "us", "asia"][number / 2], "", "");
    };
    let (channel, handle) = channel(&servers, place).await;
    // Every endpoint gets a measurement.
    assert_eq!(count(&channel, &PickOptions::new(), 12).await.len(), 6);
    let eu = PickOptions::new().prefer_region("eu");
    assert_eq!(count(&channel, &eu, 10).await, counts([("s0", 5), ("s1", 5)]));
    // Without the region: asia answers sooner than us.
    handle.endpoints(endpoints(&servers, place).into_iter().skip(2));
    until("eu has gone", || channel.endpoints().len() == 4).await;
    assert_eq!(count(&channel, &eu, 10).await, counts([("s4", 5), ("s5", 5)]));
    let out = eu.exclude("s4").exclude("s5");
    assert_eq!(count(&channel, &out, 4).await, counts([("s2", 2), ("s3", 2)]));
}

#[tokio::test]
async fn load_and_cost_count_against_capacity_and_waiting_ends_when_a_call_does() {
    let servers = servers(2).await;
    let (channel, _handle) = channel(&servers, |_, endpoint| endpoint.attributes.capacity = Some(4)).await;
    let light = PickOptions::new().below_load(0.5);
    // Three calls in flight at s0 are 0.75 of its capacity; at s1 none are.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(channel.pick(PickOptions::new().pin("s0")).await.unwrap());
    }
    assert_eq!(count(&channel, &light, 6).await, counts([("s1", 6)]));
    assert_eq!(count(&channel, &PickOptions::new().cost(1).prefer("s0"), 3).await, counts([("s0", 3)]));
    assert_eq!(count(&channel, &PickOptions::new().cost(2).prefer("s0"), 3).await, counts([("s1", 3)]));
    held.push(channel.pick(PickOptions::new().pin("s1").cost(4)).await.unwrap());
    let status = ask(&channel, &light.clone().cost(2), request("x")).await.unwrap_err();
    assert!(status.message().contains("of 2 endpoints: 2 above load 0.5"), "{status}");
    let waiting = tokio::spawn({
        let (channel, light) = (channel.clone(), light.wait_for_ready(true));
        async move { ask(&channel, &light, request("x")).await }
    });
    tokio::task::yield_now().await;
    drop(held.pop());
    assert_eq!(soon("the call that waits", waiting).await.unwrap().unwrap(), "s1");
}

#[tokio::test]
async fn a_pick_counts_until_it_is_reported() {
    let servers = servers(2).await;
    let (channel, _handle) = channel(&servers, gpu).await;
    let picked = channel.pick(PickOptions::new().pin("s1")).await.unwrap();
    assert_eq!((picked.address(), picked.addresses()), (&servers[1].address(), &[servers[1].address()][..]));
    assert_eq!(picked.attributes().id.as_deref(), Some("s1"));
    let stats = || {
        let info = info(&channel, servers[1].addr());
        (info.in_flight, info.succeeded, info.failed)
    };
    assert_eq!(stats(), (1, 0, 0));
    picked.report(Outcome::Success);
    assert_eq!(stats(), (0, 1, 0));
    channel.pick(PickOptions::new().pin("s1")).await.unwrap().report(Outcome::Failure);
    drop(channel.pick(PickOptions::new().pin("s1")).await.unwrap());
    assert_eq!(stats(), (0, 1, 1), "dropped is cancelled");
    let error = channel.pick(PickOptions::new().require("tpu")).await.unwrap_err();
    assert!(matches!(error, CallError::NothingFits { .. }), "{error}");
    let error = channel.pick(PickOptions::new().policy("nonesuch")).await.unwrap_err();
    assert!(matches!(error, CallError::UnknownPolicy { .. }), "{error}");
}

#[tokio::test]
async fn a_pick_waits_for_the_first_endpoints_and_can_be_given_up() {
    let (resolver, handle) = FakeResolver::new("fake");
    let channel = LbChannel::builder("fake:///orders").resolver(resolver).build().unwrap();
    let pending = tokio::time::timeout(Duration::from_millis(20), channel.pick(PickOptions::new())).await;
    assert!(pending.is_err(), "nothing is known yet");
    let server = EchoServer::start("s").await.unwrap();
    let picking = tokio::spawn({
        let channel = channel.clone();
        async move { channel.pick(PickOptions::new()).await.map(|picked| picked.key().clone()) }
    });
    handle.endpoints([server.endpoint()]);
    assert_eq!(soon("the pick", picking).await.unwrap().unwrap(), *server.endpoint().key());
}

#[tokio::test]
async fn scores_and_explanations_name_every_endpoint() {
    let servers = servers(4).await;
    let (channel, _handle) = channel(&servers, gpu).await;
    let options = PickOptions::new().require("gpu").exclude("s0");
    let rows = channel.explain(&options).unwrap();
    let excluded: Vec<_> = rows.iter().map(|row| row.excluded.clone()).collect();
    let lacks = Some(Misfit::Lacks("gpu".into()));
    assert_eq!(excluded, [Some(Misfit::Excluded), None, lacks.clone(), lacks]);
    let scores = channel.scores(&options).unwrap();
    assert_eq!((scores.len(), scores[0].id.as_deref(), scores[0].total), (1, Some("s1"), 1.0));
    assert!(matches!(channel.explain(&PickOptions::new().policy("nonesuch")), Err(CallError::UnknownPolicy { .. })));
}
