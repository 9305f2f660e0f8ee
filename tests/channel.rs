//! The channel against real servers: balancing, options, states.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::{ConnectivityState, LbChannel, PickOptions, PickedEndpoint};
use lb_testkit::EchoServer;
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use tonic::Request;

async fn servers(count: usize) -> Vec<EchoServer> {
    let mut servers = Vec::new();
    for index in 0..count {
        servers.push(EchoServer::start(&format!("s{index}")).await.unwrap());
    }
    servers
}

fn target(servers: &[EchoServer]) -> String {
    let addresses: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    format!("static:///{}", addresses.join(","))
}

#[tokio::test]
async fn round_robin_spreads_exactly() {
    let servers = servers(4).await;
    let channel = LbChannel::builder(target(&servers)).build().unwrap();
    assert_eq!(channel.state(), ConnectivityState::Idle);
    channel.exit_idle();
    while channel.endpoints().iter().filter(|endpoint| endpoint.state == ConnectivityState::Ready).count() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut client = EchoClient::new(channel.clone());
    let mut counts = BTreeMap::new();
    for _ in 0..100 {
        let reply = client.unary(EchoRequest { payload: b"hello".as_slice().into(), ..Default::default() }).await.unwrap();
        let picked = reply.extensions().get::<PickedEndpoint>().unwrap().endpoint().key().to_string();
        assert!(servers.iter().any(|server| server.addr().to_string() == picked));
        assert_eq!(&*reply.get_ref().payload, b"hello");
        *counts.entry(reply.into_inner().server).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [25; 4]);
    assert!(channel.endpoints().iter().all(|endpoint| endpoint.in_flight == 0 && endpoint.succeeded == 25));
}

#[tokio::test]
async fn a_call_can_pin_and_exclude() {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target(&servers)).connect(Duration::from_secs(5)).await.unwrap();
    let mut client = EchoClient::new(channel);
    let pinned = servers[1].addr().to_string();
    for _ in 0..10 {
        let mut request = Request::new(EchoRequest::default());
        request.extensions_mut().insert(PickOptions::new().pin(&*pinned).wait_for_ready(true));
        assert_eq!(client.unary(request).await.unwrap().into_inner().server, "s1");
    }
    for _ in 0..10 {
        let mut request = Request::new(EchoRequest::default());
        request.extensions_mut().insert(PickOptions::new().exclude(&*pinned).policy("random"));
        assert_ne!(client.unary(request).await.unwrap().into_inner().server, "s1");
    }
}
