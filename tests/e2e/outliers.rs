//! Endpoints whose calls fail are ejected, by a real channel, and come back.

use std::time::{Duration, Instant};

use evenkeel::stages::OutlierConfig;
use evenkeel::{ConnectivityState, LbChannel, LbEvent};
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::json;
use tonic::Code;

use crate::support::{Load, info, ready, request, servers, soon, target_of, until};

/// As A50, but quick, and satisfied with a call of each endpoint, which is all that a busy machine makes in such a time.
fn config() -> OutlierConfig {
    let measure = json!({"threshold": 50, "minimumHosts": 3, "requestVolume": 1});
    let config =
        json!({"interval": "0.2s", "baseEjectionTime": "0.3s", "maxEjectionPercent": 40, "failurePercentageEjection": measure});
    OutlierConfig::from_json(&config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_endpoint_is_ejected_keeps_its_connection_and_comes_back_healed() {
    let servers = servers(5).await;
    let channel = LbChannel::builder(target_of(&servers)).policy("round_robin").outlier_detection(config()).build().unwrap();
    let mut events = channel.subscribe();
    ready(&channel, 5).await;
    servers[0].fail(Code::Internal);
    let load = Load::start(&channel, 4, &request("x"));
    let ejected = async {
        loop {
            if let Some(LbEvent::SubchannelState { to: ConnectivityState::TransientFailure, reason: Some(reason), .. }) =
                events.next().await
            {
                return reason;
            }
        }
    };
    let reason = soon("it is ejected", ejected).await;
    assert!(reason.starts_with("ejected: 100 % of its calls fail"), "{reason}");
    assert_eq!(info(&channel, servers[0].addr()).state, ConnectivityState::TransientFailure);
    assert_eq!((servers[0].connections(), servers[0].accepted()), (1, 1), "it stays connected");

    servers[0].heal();
    until("it is back", || info(&channel, servers[0].addr()).state == ConnectivityState::Ready).await;
    let before = servers[0].calls();
    until("it serves", || servers[0].calls() > before + 20).await;
    assert_eq!(servers[0].accepted(), 1, "on the connection it had");
    let tally = load.stop().await;
    assert!(
        tally.failures.iter().all(|status| status.code() == Code::Internal),
        "only what the server failed: {:?}",
        tally.failures.last()
    );
}

/// However long a busy machine takes for the few calls of an interval: none comes back while the test looks.
fn for_long() -> OutlierConfig {
    let measure = json!({"threshold": 50, "minimumHosts": 3, "requestVolume": 1});
    let config =
        json!({"interval": "1s", "baseEjectionTime": "3600s", "maxEjectionPercent": 40, "failurePercentageEjection": measure});
    OutlierConfig::from_json(&config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_fail_only_the_share_that_may_be_is_ejected() {
    let servers = servers(5).await;
    servers.iter().for_each(|server| server.fail(Code::Unavailable));
    let builder = LbChannel::builder(target_of(&servers)).policy("round_robin").outlier_detection(for_long());
    let channel = builder.build().unwrap();
    ready(&channel, 5).await;
    let mut client = EchoClient::new(channel.clone());
    let mut failing_call = async || {
        assert_eq!(client.unary(request("x")).await.unwrap_err().code(), Code::Unavailable);
        tokio::time::sleep(Duration::from_millis(1)).await;
        channel.endpoints().iter().filter(|endpoint| endpoint.state != ConnectivityState::Ready).count()
    };
    soon("two are ejected", async { while failing_call().await < 2 {} }).await;
    // The three that are left fail as well, in two whole intervals.
    let looking = Instant::now();
    while looking.elapsed() < Duration::from_secs(3) {
        assert_eq!(failing_call().await, 2, "40 % of five");
    }
}

/// The policy of the service config, that ejects below this child.
fn ejecting(interval: &str, child: &str) -> serde_json::Value {
    let measure = json!({"threshold": 50, "minimumHosts": 3, "requestVolume": 1});
    let outliers = json!({"interval": interval, "baseEjectionTime": "60s", "maxEjectionPercent": 40,
        "failurePercentageEjection": measure, "childPolicy": [{child: {}}]});
    json!({"loadBalancingConfig": [{"outlier_detection_experimental": outliers}]})
}

/// The same as the policy of the unary method.
fn method_ejecting(interval: &str, child: &str) -> serde_json::Value {
    let mut method = ejecting(interval, child);
    method["name"] = json!([{"service": "evenkeel.echo.v1.Echo", "method": "Unary"}]);
    json!({"methodConfig": [method]})
}

/// Waits until the first server gets no calls any more, while another one does; how many it had.
async fn until_left_alone(servers: &[EchoServer]) -> u64 {
    let (mut failed, mut since) = (0, 0);
    until("it gets no calls", || {
        if servers[0].calls() != failed {
            (failed, since) = (servers[0].calls(), servers[1].calls());
        }
        failed > 0 && servers[1].calls() > since + 100
    })
    .await;
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_methods_own_policy_forgets_no_ejection_when_its_config_changes() {
    let servers = servers(5).await;
    let config = method_ejecting("0.1s", "round_robin");
    let channel = LbChannel::builder(target_of(&servers)).service_config(config).build().unwrap();
    ready(&channel, 5).await;
    servers[0].fail(Code::Internal);
    let load = Load::start(&channel, 4, &request("x"));
    let failed = until_left_alone(&servers).await;
    for child in ["random", "least_request", "round_robin"].into_iter().cycle().take(6) {
        let mut events = channel.subscribe();
        channel.set_service_config(method_ejecting("0.08s", child)).unwrap();
        let changed = async { while !matches!(events.next().await, Some(LbEvent::ConfigChanged(_))) {} };
        soon("it counts", changed).await;
        let before = servers[1].calls();
        until("calls go on", || servers[1].calls() > before + 5).await;
    }
    assert_eq!(servers[0].calls(), failed, "it stays ejected");
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_and_new_configs_under_load_cost_no_call_and_forget_no_ejection() {
    let servers = servers(5).await;
    let config = ejecting("0.1s", "round_robin");
    let channel = LbChannel::builder(target_of(&servers)).service_config(config).build().unwrap();
    ready(&channel, 5).await;
    servers[0].fail(Code::Internal);
    let load = Load::start(&channel, 4, &request("x"));
    let failed = until_left_alone(&servers).await;
    for child in ["random", "least_request", "round_robin"].into_iter().cycle().take(6) {
        channel.set_service_config(ejecting("0.08s", child)).unwrap();
        let before = servers[1].calls();
        until("calls go on", || servers[1].calls() > before + 5).await;
    }
    assert_eq!(servers[0].calls(), failed, "it stays ejected");
    assert_eq!(servers[0].accepted(), 1);
    // Without a measure it is back at once.
    channel.set_service_config(json!({"loadBalancingConfig": [{"round_robin": {}}]})).unwrap();
    until("it is back", || servers[0].calls() > failed).await;
    let tally = load.stop().await;
    assert!(tally.failures.iter().all(|status| status.code() == Code::Internal), "{:?}", tally.failures.last());
}
