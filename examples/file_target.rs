//! Endpoints from a file that is edited while the channel runs: an endpoint is added, an edit is wrong, another one is right.
//! A file is taken whole or not at all; one that cannot be read changes nothing and is told as an event.
//! Run it with `cargo run --example file_target`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evenkeel::{LbChannel, LbEvent};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, PATIENCE, key, servers, serves, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let (s0, s1) = (key(&servers[0]), key(&servers[1]));
    let dir = Dir::new()?;
    let file = dir.0.join("orders.yaml");
    replace(&file, &format!("endpoints:\n  - {s0}\n"))?;

    let target = format!("file://{}", file.display());
    let channel = LbChannel::builder(&*target).policy("weighted_round_robin").connect(PATIENCE).await?;
    println!("one endpoint:         {:?}", who_answers(&channel).await?);

    replace(&file, &format!("endpoints:\n  - {s0}\n  - address: {s1}\n    weight: 3\n"))?;
    until(&channel, "s1 serves", |endpoints| serves(endpoints, &s1)).await?;
    let answered = who_answers(&channel).await?;
    println!("another of weight 3:  {answered:?}");
    assert!(answered["s1"] > 2 * answered["s0"]);

    let mut events = channel.subscribe();
    replace(&file, &format!("endpoints:\n  - {s0}\n  - address: {s1}\n    wieght: 3\n"))?;
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            match events.next().await {
                Some(LbEvent::ResolverFailed(reason)) => return Ok(reason),
                Some(_) => {}
                None => return Err("the channel ended"),
            }
        }
    });
    println!("an edit with a typo:  {}", refused.await??);
    println!("the last good one:    {:?}", who_answers(&channel).await?);

    replace(&file, &format!("[\"{s1}\"]"))?;
    until(&channel, "s0 is gone", |endpoints| !serves(endpoints, &s0)).await?;
    let answered = who_answers(&channel).await?;
    println!("an edit that is good: {answered:?}");
    assert_eq!(answered.len(), 1);
    Ok(())
}

/// How many of a few calls each server answers.
async fn who_answers(channel: &LbChannel) -> Result<BTreeMap<String, u32>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut counts = BTreeMap::new();
    for _ in 0..40 {
        *counts.entry(client.unary(EchoRequest::default()).await?.into_inner().server).or_default() += 1;
    }
    Ok(counts)
}

/// Writes a new file and renames it over the old one, so that nobody can read half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

/// A directory that goes away with its value.
struct Dir(PathBuf);

impl Dir {
    fn new() -> io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("evenkeel-file-target-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
