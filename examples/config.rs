//! Configuration from a file, the environment and code, and channels that follow the file. Run it with
//! `cargo run --example config --features config-yaml`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use evenkeel::config::{Channels, Config};
use evenkeel::{LbChannel, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, PATIENCE, servers};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let directory = std::env::temp_dir().join(format!("evenkeel-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("lb.yaml");
    let write = |policy: &str, only: usize| {
        let hosts: Vec<String> = servers.iter().take(only).map(|server| format!("{:?}", server.addr().to_string())).collect();
        let text = format!("policy: {policy}\ntimeout: 5s\nservices:\n  echo: {{endpoints: [{}]}}\n", hosts.join(", "));
        // A new file, renamed over the old one, is never seen half.
        std::fs::write(directory.join("new"), text).and_then(|()| std::fs::rename(directory.join("new"), &file))
    };
    write("round_robin", 1)?;

    // A program passes `std::env::vars_os()`. The environment counts before the file, and code before both.
    let environment = [("LB_TIMEOUT", "2s"), ("LB_SERVICES_ECHO_RETRY_MAX_ATTEMPTS", "4")];
    let sources = Config::sources().file(&file).environment(environment).set("services.echo.waitForReady", true);
    let config = sources.load()?;
    println!("{}", config.explain());

    // All that is wrong is told at once, and what was perhaps meant.
    let wrong = sources.clone().set("services.echo.conectTimeout", "1s").set("maxAttempts", 0).load();
    println!("refused:\n{}\n", wrong.expect_err("two things are wrong"));

    let channels = Channels::build(config)?;
    let mut watching = channels.watch(sources);
    let channel = channels.get("echo").ok_or("it is configured")?;
    println!("served by {:?}", served_by(&channel).await?);

    // The file changes, and with it the channel: endpoints and policies at once, what needs a new channel is told.
    let mut events = channel.subscribe();
    write("least_request", 2)?;
    let reload = tokio::time::timeout(PATIENCE, watching.next()).await?.ok_or("the watch goes on")?;
    println!("reloaded:\n{reload}");
    let told = async {
        while let Some(event) = events.next().await {
            if matches!(event, LbEvent::SettingsChanged { .. }) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await?;
    let both = async {
        while served_by(&channel).await?.len() < 2 {}
        Ok::<(), Failure>(())
    };
    tokio::time::timeout(PATIENCE, both).await??;
    println!("served by {:?} with {}", served_by(&channel).await?, channel.policy());
    assert_eq!(channel.policy(), "least_request");
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

async fn served_by(channel: &LbChannel) -> Result<BTreeSet<String>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut names = BTreeSet::new();
    for _ in 0..20 {
        names.insert(client.unary(EchoRequest::default()).await?.into_inner().server);
    }
    Ok(names)
}
