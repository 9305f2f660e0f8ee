//! What happened, in the traces of channels and subchannels.

use lb_admin::channelz::{Channelz, ChannelzConfig};
use lb_resolver_static::ManualResolver;
use lb_testkit::EchoServer;
use lb_testkit::channelz::channel_trace_event::{ChildRef, Severity};
use lb_testkit::channelz::{ChannelTrace, Subchannel};
use lb_tonic::LbChannel;
use serde_json::json;
use tonic::Code;

use crate::support::*;

fn texts(trace: &ChannelTrace) -> Vec<&str> {
    trace.events.iter().map(|event| event.description.as_str()).collect()
}

fn has(subchannel: &Subchannel, text: &str) -> bool {
    texts(trace(subchannel)).iter().any(|event| event.contains(text))
}

fn trace(subchannel: &Subchannel) -> &ChannelTrace {
    subchannel.data.as_ref().unwrap().trace.as_ref().unwrap()
}

#[tokio::test]
async fn a_channel_tells_of_its_creation_its_policy_and_its_service_config() {
    let server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    shown.set_policy("pick_first", &json!({})).unwrap();
    eventually("the policy counts", || shown.policy() == "pick_first").await;
    let config = json!({"loadBalancingConfig": [{"least_request": {}}]});
    shown.set_service_config(config).unwrap();
    eventually("the config counts", || shown.policy() == "least_request").await;
    // What counts is published before it is told.
    call(&shown).await;
    let told = |trace: &ChannelTrace| texts(trace).iter().any(|text| text.contains("least_request took over"));
    let mut listed = looking.channels().await.remove(0);
    while !told(listed.data.as_ref().unwrap().trace.as_ref().unwrap()) {
        tokio::task::yield_now().await;
        listed = looking.channels().await.remove(0);
    }
    let trace = listed.data.unwrap().trace.unwrap();
    let order = ["channel created", "subchannel created", "CONNECTING -> READY", "pick_first took over", "service config changed"];
    let places: Vec<usize> = order
        .iter()
        .map(|part| texts(&trace).iter().position(|text| text.contains(part)).unwrap_or_else(|| panic!("{part}: {trace:#?}")))
        .collect();
    assert!(places.is_sorted(), "{:#?}", texts(&trace));
    assert_eq!(trace.num_events_logged as usize, trace.events.len());
    assert_eq!(trace.events[0].timestamp, trace.creation_timestamp);
    assert!(trace.events.iter().all(|event| event.severity() == Severity::CtInfo));
    let Some(ChildRef::SubchannelRef(child)) = &trace.events[places[1]].child_ref else { panic!("no child") };
    assert_eq!(child.subchannel_id, listed.subchannel_ref[0].subchannel_id);
}

#[tokio::test]
async fn a_subchannel_tells_why_it_failed_and_what_operators_did_to_it() {
    let mut server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    shown.drain(server.endpoint().key().clone());
    let drained = looking.until("the drain is told", |subchannel| has(subchannel, "drained")).await;
    assert!(has(&drained, "CONNECTING -> READY") && has(&drained, "connected at"), "{drained:#?}");
    shown.undrain(server.endpoint().key().clone());
    server.kill().await;
    let failed = looking.until("the failure is told", |subchannel| has(subchannel, "-> TRANSIENT_FAILURE")).await;
    let failure = trace(&failed).events.iter().find(|event| event.description.contains("-> TRANSIENT_FAILURE")).unwrap();
    assert_eq!(failure.severity(), Severity::CtWarning);
    assert!(failure.description.contains("refused"), "{failure:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_removed_is_gone_and_comes_back_as_another() {
    let (s0, s1) = (EchoServer::start("s0").await.unwrap(), EchoServer::start("s1").await.unwrap());
    let (resolver, endpoints) = ManualResolver::new("manual");
    endpoints.set([s0.endpoint(), s1.endpoint()]);
    let shown = LbChannel::builder("manual:///orders").resolver(resolver).build().unwrap();
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    let before = looking.channels().await.remove(0);
    assert_eq!(before.subchannel_ref.len(), 2);
    let gone = before.subchannel_ref[0].subchannel_id;
    endpoints.set([s1.endpoint()]);
    eventually("it is gone", || shown.subchannels().len() == 1).await;
    let after = looking.channels().await.remove(0);
    assert_eq!(after.subchannel_ref, before.subchannel_ref[1..]);
    assert_eq!(looking.subchannel(gone).await.unwrap_err().code(), Code::NotFound);
    endpoints.set([s0.endpoint(), s1.endpoint()]);
    eventually("it is back", || shown.subchannels().len() == 2).await;
    let back = looking.channels().await.remove(0);
    assert!(back.subchannel_ref[0].subchannel_id > gone && back.subchannel_ref[1] == before.subchannel_ref[1]);
    // The trace of the channel goes on to say which it was.
    let told = |trace: &ChannelTrace| texts(trace).iter().filter(|text| text.starts_with("subchannel created")).count() == 3;
    let mut trace = back.data.unwrap().trace.unwrap();
    while !told(&trace) {
        tokio::task::yield_now().await;
        trace = looking.channels().await.remove(0).data.unwrap().trace.unwrap();
    }
    let deleted = trace.events.iter().find(|event| event.description.starts_with("subchannel deleted")).unwrap();
    assert!(deleted.description.contains(&s0.addr().to_string()));
}

#[tokio::test]
async fn traces_are_rings_and_a_registry_that_is_dropped_lets_go() {
    let server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    let config = ChannelzConfig::new().channel_events(2).subchannel_events(3);
    let mut looking = Looking::at(Channelz::with_config(config)).await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    let key = server.endpoint().key().clone();
    for _ in 0..10 {
        shown.drain(key.clone());
        shown.undrain(key.clone());
    }
    let full = looking.until("all is told", |subchannel| trace(subchannel).num_events_logged >= 20).await;
    assert_eq!(trace(&full).events.len(), 3);
    let listed = looking.channels().await.remove(0);
    assert_eq!(listed.data.unwrap().trace.unwrap().events.len(), 2);
    drop(looking);
    // The channel goes on telling nobody.
    shown.drain(key.clone());
    shown.undrain(key);
    call(&shown).await;
    // A late one begins anew, with what there is.
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    let listed = looking.channels().await.remove(0);
    let subchannels = looking.subchannels(&listed).await;
    assert_eq!(texts(trace(&subchannels[0])), ["subchannel created"]);
}
