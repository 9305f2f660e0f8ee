//! Every line of docs/ADMIN.md that an operator would copy, run as it stands there.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lb_admin::AdminToken;
use lb_core::recovery::RampConfig;
use lb_core::sessions::SessionLimits;
use lb_tonic::SessionConfig;
use tokio::process::Command;

use crate::client::get;
use crate::operations::Number;
use crate::support::{Live, OPERATOR, orders};

const DOCUMENT: &str = include_str!("../../../../docs/ADMIN.md");

/// The instance of the document.
const INSTANCE: &str = "127.0.0.1%3A50051";

fn lines() -> Vec<&'static str> {
    DOCUMENT.lines().filter(|line| line.starts_with("curl ") || line.starts_with("SEEN=$(curl ")).collect()
}

/// Runs one after the other, as a shell does that one types into, and gives what failed.
async fn run(dir: &Path, admin: &str, lines: &[String]) -> Option<String> {
    let script = format!("set -e\n{}", lines.join("\n"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    shell.env("ADMIN", admin).env("AUTH", format!("Authorization: Bearer {OPERATOR}")).env("no_proxy", "*");
    let output = tokio::time::timeout(Duration::from_secs(60), shell.output()).await.unwrap().unwrap();
    (!output.status.success()).then(|| format!("{script}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_page_works_and_no_route_is_left_out() {
    if !Command::new("curl").arg("--version").output().await.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI has curl");
        return eprintln!("skipped: this machine has no curl");
    }
    let limits = SessionLimits::try_new(Duration::from_secs(60), None, 100).unwrap();
    let ramp = RampConfig::steps().with_step(0.1, Duration::from_secs(30)).unwrap();
    let live = Live::with(2, |builder| builder.sessions(SessionConfig::table(limits)).recovery(ramp)).await;
    live.channel.sessions().unwrap().place("user-123", "x:1");
    let admin = orders(&live.channel)
        .token(AdminToken::operator("ops", OPERATOR).unwrap())
        .metrics(|| Ok::<_, String>("a_total 1\n".into()))
        .config(Arc::new(Number::default()))
        .serve()
        .await
        .unwrap();
    let address = format!("http://{}", admin.local_addr());
    let dir = std::env::temp_dir().join(format!("evenkeel-admin-page-{}", std::process::id()));
    // One of a process of the same number, which was killed, may be there.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();

    let lines: Vec<String> = lines().iter().map(|line| line.replace(INSTANCE, &live.instance(0))).collect();
    // An endpoint that was disabled connects first, and recovers then.
    let (before, after) = lines.split_at(lines.iter().position(|line| line.contains("/force")).unwrap());
    let failed = run(&dir, &address, before).await;
    live.until(|channel| failed.is_some() || !channel.recovery().is_empty()).await;
    let failed = failed.or(run(&dir, &address, after).await);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(failed, None);
    assert_eq!(live.channel.policy(), "least_request");

    let described = get("/api/v1/loadbalancer/openapi.json").token(OPERATOR).of(admin.local_addr()).await.json();
    for path in described["paths"].as_object().unwrap().keys() {
        let named = path.replace("{service}", "orders").replace("{instance}", INSTANCE).replace("{session}", "user-123");
        assert!(DOCUMENT.contains(&format!("$ADMIN{named}")), "{path} is not on the page");
    }
}
