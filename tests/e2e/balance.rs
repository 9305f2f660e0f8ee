//! Who gets how many calls.

use evenkeel::{LbChannel, PickOptions};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::Request;

use crate::support::{Load, call, in_flight, ready, request, servers, target_of, until};

async fn channel(servers: &[EchoServer], policy: &str) -> LbChannel {
    let channel = LbChannel::builder(target_of(servers)).policy(policy).build().unwrap();
    ready(&channel, servers.len()).await;
    channel
}

fn calls(servers: &[EchoServer]) -> Vec<u64> {
    servers.iter().map(|server| server.calls()).collect()
}

#[tokio::test]
async fn a_clone_per_call_balances_exactly() {
    let servers = servers(4).await;
    let channel = channel(&servers, "round_robin").await;
    for _ in 0..400 {
        call(&channel).await.unwrap();
    }
    assert_eq!(calls(&servers), [100; 4]);
}

#[tokio::test]
async fn every_clone_that_is_kept_balances_exactly_for_itself() {
    let servers = servers(4).await;
    let channel = channel(&servers, "round_robin").await;
    let mut clones: Vec<_> = (0..50).map(|_| EchoClient::new(channel.clone())).collect();
    for round in 1..=8 {
        for client in &mut clones {
            client.unary(request("x")).await.unwrap();
        }
        assert!(round % 4 != 0 || calls(&servers) == [50 * round / 4; 4], "{:?}", calls(&servers));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_balance_all_but_exactly() {
    let servers = servers(4).await;
    let channel = channel(&servers, "round_robin").await;
    let load = Load::start(&channel, 32, &EchoRequest::default());
    load.goes_on(2_000).await;
    let tally = load.stop().await;
    tally.all_succeeded();
    // Each of 32 walks on its own and is at most one off at each of four endpoints.
    let fair = tally.ok / 4;
    assert!(calls(&servers).iter().all(|calls| calls.abs_diff(fair) <= 32), "{:?} of {}", calls(&servers), tally.ok);
}

#[tokio::test]
async fn weights_share_calls_in_proportion() {
    let servers = servers(3).await;
    let weighted: Vec<String> =
        servers.iter().zip([1, 2, 3]).map(|(server, weight)| format!("{};weight={weight}", server.addr())).collect();
    let channel = LbChannel::builder(format!("static:///{}", weighted.join(","))).policy("weighted_round_robin").build().unwrap();
    ready(&channel, 3).await;
    let mut client = EchoClient::new(channel);
    for _ in 0..600 {
        client.unary(request("x")).await.unwrap();
    }
    let calls = calls(&servers);
    assert!(calls.iter().zip([100, 200, 300]).all(|(calls, fair)| calls.abs_diff(fair) <= 3), "{calls:?}");
}

#[tokio::test]
async fn random_is_even_in_the_long_run() {
    let servers = servers(4).await;
    let channel = LbChannel::builder(target_of(&servers)).policy("random").seed(7).build().unwrap();
    ready(&channel, 4).await;
    let mut client = EchoClient::new(channel);
    for _ in 0..2_000 {
        client.unary(request("x")).await.unwrap();
    }
    // Five standard deviations of a binomial with n = 2000, p = 1/4.
    assert!(calls(&servers).iter().all(|calls| calls.abs_diff(500) < 97), "{:?}", calls(&servers));
}

#[tokio::test]
async fn least_request_spares_the_busy_one() {
    let servers = servers(3).await;
    let channel = channel(&servers, "least_request").await;
    let mut client = EchoClient::new(channel.clone());
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut asked = Request::new(EchoRequest { count: u32::MAX, delay_ms: 50, ..request("x") });
        asked.extensions_mut().insert(PickOptions::new().pin(&*servers[0].addr().to_string()));
        held.push(client.server_stream(asked).await.unwrap());
    }
    for _ in 0..300 {
        client.unary(request("x")).await.unwrap();
    }
    // One after the other: the other two are free at every pick, and the busy one is taken only where both choices fall on it.
    let calls = calls(&servers);
    assert!(calls[0] - 3 < 60, "{calls:?}");
    drop(held);
    until("nothing is in flight", || in_flight(&channel) == 0).await;
    for _ in 0..300 {
        client.unary(request("x")).await.unwrap();
    }
    let after = servers[0].calls() - calls[0];
    // Five standard deviations of a binomial with n = 300, p = 1/3.
    assert!(after.abs_diff(100) < 41, "{after} of 300 once it was free");
}

#[tokio::test]
async fn pick_first_uses_one_connection() {
    let servers = servers(3).await;
    let channel = LbChannel::builder(target_of(&servers)).policy("pick_first").build().unwrap();
    for _ in 0..30 {
        assert_eq!(call(&channel).await.unwrap().into_inner().server, "s0");
    }
    assert_eq!(servers.iter().map(|server| server.connections()).collect::<Vec<_>>(), [1, 0, 0]);
}

#[tokio::test]
async fn pick_first_moves_on_without_an_error_and_starts_from_the_first_again() {
    let mut servers = servers(3).await;
    let builder = LbChannel::builder(target_of(&servers)).policy("pick_first").backoff(crate::support::quick_backoff());
    let channel = builder.build().unwrap();
    call(&channel).await.unwrap();
    servers[0].kill().await;
    until("the loss is noticed", || channel.state() != evenkeel::ConnectivityState::Ready).await;
    for _ in 0..10 {
        assert_eq!(call(&channel).await.unwrap().into_inner().server, "s1");
    }
    servers[0].restart().await.unwrap();
    for _ in 0..10 {
        assert_eq!(call(&channel).await.unwrap().into_inner().server, "s1", "it stays where it is");
    }
    servers[1].cut_connections();
    until("the loss is noticed", || channel.state() != evenkeel::ConnectivityState::Ready).await;
    assert_eq!(call(&channel).await.unwrap().into_inner().server, "s0");
}

#[tokio::test]
async fn policies_side_by_side_balance_each_for_itself() {
    let servers = servers(4).await;
    let channel = channel(&servers, "round_robin").await;
    let mut client = EchoClient::new(channel);
    let mut others = 0;
    for turn in 0..400 {
        let mut asked = Request::new(request("x"));
        if turn % 2 == 0 {
            asked.extensions_mut().insert(PickOptions::new().policy("pick_first"));
        }
        let reply = client.unary(asked).await.unwrap().into_inner();
        others += u64::from(turn % 2 == 0 && reply.server != "s0");
    }
    assert_eq!((others, calls(&servers)), (0, vec![250, 50, 50, 50]));
}
