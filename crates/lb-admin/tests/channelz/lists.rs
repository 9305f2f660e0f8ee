//! What is listed, page by page, and what is not there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use lb_admin::Services;
use lb_admin::channelz::{Channelz, ChannelzConfig};
use lb_core::{Address, Endpoint};
use lb_resolver_static::ManualResolver;
use lb_testkit::channelz::channel_connectivity_state::State;
use lb_testkit::channelz::{GetServerRequest, GetServerSocketsRequest, GetServersRequest};
use lb_testkit::{EchoServer, LightServer};
use lb_tonic::LbChannel;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn channels_are_there_as_long_as_somebody_has_them() {
    let mut looking = Looking::new().await;
    assert_eq!(looking.page(0, 0).await.unwrap(), (Vec::new(), true));
    let (s0, s1) = (EchoServer::start("s0").await.unwrap(), EchoServer::start("s1").await.unwrap());
    let (orders, users) = (channel(&[&s0, &s1]), channel(&[&s1]));
    for shown in [&orders, &users, &orders.clone()] {
        looking.channelz.watch(shown);
    }
    let channels = looking.channels().await;
    assert_eq!(channels.len(), 2, "a clone is the same channel");
    assert_eq!(channels[0].data.as_ref().unwrap().target, orders.target());
    assert_eq!(channels[1].data.as_ref().unwrap().target, users.target());
    assert_eq!(channels[0].data.as_ref().unwrap().state.unwrap().state(), State::Idle);
    let first = channel_id(&channels[0]);
    assert_eq!(looking.channel(first).await.unwrap(), channels[0]);
    drop(orders);
    // The channel's task may take a moment to end, which nobody sees here.
    assert_eq!(looking.channels().await.len(), 1);
    assert_eq!(looking.channel(first).await.unwrap_err().code(), Code::NotFound);
    assert!(looking.channelz.forget(&users) && !looking.channelz.forget(&users));
    assert!(looking.channels().await.is_empty());
}

#[tokio::test]
async fn channels_of_services_show_up_by_themselves() {
    let services = Services::new();
    let mut looking = Looking::at(Channelz::of(&services, ChannelzConfig::new())).await;
    let server = EchoServer::start("s0").await.unwrap();
    let orders = channel(&[&server]);
    services.add("orders", &orders);
    assert_eq!(looking.channels().await.len(), 1);
    drop(orders);
    assert!(looking.channels().await.is_empty());
}

#[tokio::test]
async fn pages_begin_where_they_are_told_and_say_when_they_end() {
    let mut looking = Looking::new().await;
    let server = EchoServer::start("s0").await.unwrap();
    let channels: Vec<LbChannel> = (0..250).map(|_| channel(&[&server])).collect();
    channels.iter().for_each(|channel| looking.channelz.watch(channel));
    let (first, end) = looking.page(0, 0).await.unwrap();
    assert_eq!((first.len(), end), (100, false), "the usual page");
    let ids: Vec<i64> = looking.channels().await.iter().map(channel_id).collect();
    assert_eq!(ids.len(), 250);
    assert!(ids.is_sorted() && ids[0] > 0);
    let (page, end) = looking.page(ids[10], 7).await.unwrap();
    assert_eq!((page.iter().map(channel_id).collect::<Vec<_>>(), end), (ids[10..17].to_vec(), false));
    let (page, end) = looking.page(ids[243], 7).await.unwrap();
    assert_eq!((page.len(), end), (7, true), "exactly the rest");
    assert_eq!(looking.page(ids[249] + 1, 7).await.unwrap(), (Vec::new(), true));
    assert_eq!(looking.page(i64::MAX, i64::MAX).await.unwrap(), (Vec::new(), true));
    let (page, end) = looking.page(0, i64::MAX).await.unwrap();
    assert_eq!((page.len(), end), (250, true));
}

#[tokio::test]
async fn hostile_numbers_are_refused_or_not_found() {
    let mut looking = Looking::new().await;
    let server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    looking.channelz.watch(&shown);
    call(&shown).await;
    for (start, most) in [(-1, 0), (0, -1), (i64::MIN, i64::MIN)] {
        let error = looking.page(start, most).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{start} {most}");
    }
    for id in [0, -1, i64::MIN, i64::MAX, 1 << 40] {
        assert_eq!(looking.channel(id).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(looking.subchannel(id).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(looking.socket(id).await.unwrap_err().code(), Code::NotFound);
        let request = GetServerRequest { server_id: id };
        assert_eq!(looking.client.get_server(request).await.unwrap_err().code(), Code::NotFound);
        let request = GetServerSocketsRequest { server_id: id, start_socket_id: id, max_results: id };
        assert_eq!(looking.client.get_server_sockets(request).await.unwrap_err().code(), Code::NotFound);
    }
    // A number names one kind of thing.
    let listed = looking.channels().await.remove(0);
    let child = listed.subchannel_ref[0].subchannel_id;
    let grandchild = looking.subchannel(child).await.unwrap().socket_ref[0].socket_id;
    assert_eq!(looking.channel(child).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(looking.subchannel(grandchild).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(looking.socket(channel_id(&listed)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn there_are_no_servers() {
    let mut looking = Looking::new().await;
    let answer = looking.client.get_servers(GetServersRequest { start_server_id: 0, max_results: 5 }).await.unwrap().into_inner();
    assert!(answer.server.is_empty() && answer.end);
    let error = looking.client.get_servers(GetServersRequest { start_server_id: 0, max_results: -5 }).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_thousand_endpoints_each_have_a_number_a_name_and_a_socket() {
    let server = LightServer::start(1_000, 1).unwrap();
    let addresses: Vec<String> = server.addrs().iter().map(ToString::to_string).collect();
    let shown = LbChannel::builder(format!("static:///{}", addresses.join(","))).build().unwrap();
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    shown.exit_idle();
    let ready = |channel: &LbChannel| channel.subchannels().iter().filter(|subchannel| !subchannel.sockets().is_empty()).count();
    eventually("a thousand connections", || ready(&shown) == 1_000).await;
    let channel = looking.channels().await.remove(0);
    let names: Vec<&str> = channel.subchannel_ref.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, addresses, "in the resolver's order");
    assert_eq!(looking.channels().await.remove(0).subchannel_ref, channel.subchannel_ref, "the same at each look");
    let mut numbers = BTreeSet::from([channel_id(&channel)]);
    for child in &channel.subchannel_ref {
        numbers.insert(child.subchannel_id);
    }
    assert_eq!(numbers.len(), 1_001);
    for child in channel.subchannel_ref.iter().step_by(97) {
        let subchannel = looking.subchannel(child.subchannel_id).await.unwrap();
        assert_eq!(subchannel.data.as_ref().unwrap().target, child.name);
        assert!(numbers.insert(subchannel.socket_ref[0].socket_id), "no number twice");
        let socket = looking.socket(subchannel.socket_ref[0].socket_id).await.unwrap();
        assert!(socket.r#ref.unwrap().name.ends_with(&child.name));
    }
}

/// A channel of these endpoints, none of which is there.
fn large(endpoints: impl Iterator<Item = Address>) -> LbChannel {
    let (resolver, handle) = ManualResolver::new("manual");
    handle.set(endpoints.map(Endpoint::new));
    // It tries one after the other, and so hardly any.
    let channel = LbChannel::builder("manual:///large").resolver(resolver).policy("pick_first").build().unwrap();
    channel.exit_idle();
    channel
}

#[tokio::test]
async fn very_large_channels_still_fit_into_what_clients_take() {
    let mut looking = Looking::new().await;
    let address = |number: u32| Address::Tcp((Ipv4Addr::from(0x7f00_0000 | number), 1).into());
    let larger = large((1..=10_001).map(address));
    looking.channelz.watch(&larger);
    eventually("all are there", || larger.subchannels().len() == 10_001).await;
    let (page, end) = looking.page(0, 0).await.unwrap();
    assert!(end && page[0].subchannel_ref.len() == 10_001 && page[0].subchannel_ref.iter().all(|child| child.name.is_empty()));
    let last = page[0].subchannel_ref.last().unwrap().subchannel_id;
    assert_eq!(looking.subchannel(last).await.unwrap().data.unwrap().target, "127.0.39.17:1");
    drop(larger);

    let long = |number: u32| Address::Unix(format!("/{}/{number}", "long".repeat(500)).into());
    let channels: Vec<LbChannel> = (0..3).map(|_| large((0..5_000).map(long))).collect();
    for channel in &channels {
        looking.channelz.watch(channel);
        eventually("all are there", || channel.subchannels().len() == 5_000).await;
    }
    let (page, end) = looking.page(0, 0).await.unwrap();
    assert!(!end && page.len() < channels.len(), "{} channels on one page", page.len());
    let name = &page[0].subchannel_ref[0].name;
    assert!(name.starts_with("unix:/longlong") && name.len() < 250, "{name}");
    assert_eq!(looking.channels().await.len(), channels.len(), "but all on all pages");
}
