//! A stranger who has read the description and tries everything: schemathesis, against the live server.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lb_admin::{AdminLimits, AdminToken};
use lb_core::recovery::RampConfig;
use lb_core::sessions::SessionLimits;
use lb_testkit::services;
use lb_tonic::SessionConfig;
use tokio::process::Command;

use crate::operations::Number;
use crate::support::{Live, OPERATOR, idle, orders};

/// Longer than it takes on a machine that does nothing else, by far.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_finds_no_500_and_nothing_the_description_does_not_say() {
    let Some(root) = services::require("schemathesis") else { return };
    let limits = SessionLimits::try_new(Duration::from_secs(60), None, 100).unwrap();
    let more = |builder: lb_tonic::LbChannelBuilder| builder.sessions(SessionConfig::table(limits)).recovery(RampConfig::steps());
    let (live, users) = (Live::with(2, more).await, idle(&["127.0.0.1:1"]));
    live.channel.sessions().unwrap().place("s", "x:1");
    let admin = orders(&live.channel)
        .service("users", &users)
        .token(AdminToken::operator("stranger", OPERATOR).unwrap())
        .metrics(|| Ok::<_, String>("a_total 1\n".into()))
        .config(Arc::new(Number::default()))
        .limits(AdminLimits::new().connections(128))
        .serve()
        .await
        .unwrap();
    let dir = std::env::temp_dir().join(format!("evenkeel-schemathesis-{}", std::process::id()));
    // One of a process of the same number, which was killed, may be there.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    // Names that exist, so that it gets further than 404; it makes up others as well.
    let known = format!("[parameters]\nservice = \"orders\"\ninstance = \"{}\"\n", live.servers[0].addr());
    std::fs::write(dir.join("schemathesis.toml"), known).unwrap();
    let document = format!("http://{}/api/v1/loadbalancer/openapi.json", admin.local_addr());
    let run = Command::new(root.join("python"))
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(dir.join("schemathesis.toml"))
        .args(["run", &document, "--header", &format!("Authorization: Bearer {OPERATOR}"), "--no-color"])
        // A stream has no end that it could wait for.
        .args(["--exclude-path", "/api/v1/loadbalancer/stream"])
        // What a configuration may hold, and which policies there are, is not for this description to say.
        .args([
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance",
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "5",
            "--workers",
            "2",
            "--seed",
            "1",
        ])
        .args(["--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none"])
        .current_dir(&dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    println!("{said}");
}
