//! The alert rules and the dashboard in `deploy/`: they ask for what a channel exports, and Prometheus' own tool accepts them.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lb_core::{ResolveError, ResolveErrorKind};
use lb_telemetry::{MetricsConfig, Prometheus};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver, services};
use lb_tonic::LbChannel;
use serde_json::Value;

/// What begins like a metric's name in an expression and is a label's.
const LABELS: [&str; 7] =
    ["evenkeel_endpoint", "evenkeel_event", "evenkeel_quantile", "evenkeel_state", "grpc_method", "grpc_status", "grpc_target"];

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap()
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("grafana/evenkeel.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// The dashboard's expressions, with its variables filled in.
fn expressions() -> Vec<String> {
    let fill = |text: &str| text.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$target", ".*");
    let targets = panels().into_iter().filter_map(|panel| panel["targets"].as_array().cloned()).flatten();
    targets.map(|target| fill(target["expr"].as_str().unwrap())).collect()
}

/// The words of a text that are names of our metrics.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("evenkeel_") || word.starts_with("grpc_"));
    ours.filter(|word| !LABELS.contains(word)).map(str::to_owned).collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is exported by a channel that has seen a call, an endpoint that refuses, a connection lost and a registry that is gone.
async fn exposition() -> String {
    let mut servers = [EchoServer::start("s0").await.unwrap(), EchoServer::start("s1").await.unwrap()];
    let prometheus = Prometheus::new(MetricsConfig::new().per_endpoint(true)).unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let metrics = prometheus.metrics();
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).observer(metrics.observer("fake:///orders"));
    let channel = builder.call_observer(metrics.calls("fake:///orders")).build().unwrap();
    metrics.watch(&channel);
    channel.exit_idle();
    handle.endpoints(servers.iter().map(EchoServer::endpoint));
    until("both are connected", || channel.stats().totals.taking_calls == 2).await;
    EchoClient::new(channel.clone()).unary(EchoRequest::default()).await.unwrap();
    servers[1].kill().await;
    handle.error(ResolveError::new(ResolveErrorKind::Unavailable, "the registry is gone"));
    let wanted = ["grpc_subchannel_connection_attempts_failed_total", "grpc_subchannel_disconnections_total"];
    until("the lost server refuses", || wanted.iter().all(|name| prometheus.text().unwrap().contains(name))).await;
    prometheus.text().unwrap()
}

#[tokio::test]
async fn rules_and_dashboard_ask_only_for_what_is_exported() {
    let asked = metrics(&(read("prometheus/evenkeel.rules.yml") + &expressions().join("\n")));
    assert!(asked.len() > 10, "{asked:?}");
    let text = exposition().await;
    let exported: BTreeSet<&str> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let missing: Vec<&String> = asked.iter().filter(|name| !exported.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not exported: {missing:?}, but: {exported:?}");
}

#[test]
fn panels_have_a_place_a_unit_and_an_expression() {
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for panel in panels() {
        assert!(seen.insert(panel["id"].as_u64().unwrap()), "the id is taken: {panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "wider than a dashboard: {panel}");
        if panel["type"] != "row" {
            count += 1;
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string() && !panel["targets"].as_array().unwrap().is_empty(),
                "{panel}"
            );
        }
    }
    assert!(count > 10, "{count} panels");
}

/// Runs Prometheus' own tool; `None` where it cannot be had.
fn promtool(args: &[&str], file: &Path) -> Option<()> {
    let root = services::require("promtool")?;
    let output = Command::new(root.join("usr/bin/promtool")).args(args).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?} {}: {said}", file.display());
    Some(())
}

#[test]
fn each_alert_fires_when_it_should_by_prometheus_own_tool() {
    let Some(()) = promtool(&["check", "rules"], &deploy("prometheus/evenkeel.rules.yml")) else { return };
    promtool(&["test", "rules"], &deploy("prometheus/evenkeel.rules.test.yml"));
    let (rules, tests) = (read("prometheus/evenkeel.rules.yml"), read("prometheus/evenkeel.rules.test.yml"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test has {alert} fire");
    }
}

#[test]
fn the_dashboards_expressions_are_accepted_by_prometheus_own_tool() {
    let rules: Vec<Value> = expressions()
        .into_iter()
        .enumerate()
        .map(|(at, expr)| serde_json::json!({"record": format!("panel:{at}"), "expr": expr}))
        .collect();
    let file = std::env::temp_dir().join(format!("evenkeel-dashboard-{}.yml", std::process::id()));
    // JSON is YAML.
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).unwrap();
    promtool(&["check", "rules"], &file);
    std::fs::remove_file(file).unwrap();
}
