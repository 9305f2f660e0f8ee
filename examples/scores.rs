//! Why an endpoint is chosen: scores of several policies, explained part by part. No network: endpoints and what happened at them are
//! made up here, and the same policies a channel uses are asked.
//! Run it with `cargo run --example scores`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::{
    Attributes, ConnectivityState, Done, Endpoint, Locality, Outcome, PickArgs, PickHints, PickResult, Plan, PolicyRegistry,
    Scratch, Slot, SubchannelView,
};
use http::HeaderMap;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// An endpoint and what happened there: calls in flight, calls that ended well, calls that failed, and how long they took.
struct Story {
    name: &'static str,
    region: &'static str,
    weight: u32,
    cost: f64,
    capabilities: &'static [&'static str],
    in_flight: u32,
    succeeded: u32,
    failed: u32,
    takes: Duration,
}

const STORIES: [Story; 5] = [
    Story {
        name: "big",
        region: "eu-west",
        weight: 8,
        cost: 3.0,
        capabilities: &["gpu", "avx"],
        in_flight: 6,
        succeeded: 900,
        failed: 0,
        takes: Duration::from_millis(18),
    },
    Story {
        name: "small",
        region: "eu-west",
        weight: 2,
        cost: 1.0,
        capabilities: &["avx"],
        in_flight: 1,
        succeeded: 300,
        failed: 0,
        takes: Duration::from_millis(30),
    },
    Story {
        name: "gpu-only",
        region: "eu-west",
        weight: 4,
        cost: 2.0,
        capabilities: &["gpu"],
        in_flight: 3,
        succeeded: 500,
        failed: 0,
        takes: Duration::from_millis(20),
    },
    Story {
        name: "far",
        region: "us-east",
        weight: 8,
        cost: 1.0,
        capabilities: &["gpu", "avx"],
        in_flight: 0,
        succeeded: 200,
        failed: 0,
        takes: Duration::from_millis(95),
    },
    Story {
        name: "broken",
        region: "eu-west",
        weight: 8,
        cost: 1.0,
        capabilities: &["gpu"],
        in_flight: 0,
        succeeded: 100,
        failed: 60,
        takes: Duration::from_millis(1),
    },
];

/// One subchannel as a policy sees it, with its story told to its statistics.
fn row(index: u32, story: &Story, now: Instant) -> SubchannelView {
    let mut attributes = Attributes::default();
    attributes.id = Some(story.name.into());
    attributes.weight = story.weight;
    attributes.capacity = Some(8);
    attributes.cost = Some(story.cost);
    attributes.locality = Locality::new(story.region, "", "");
    attributes.capabilities = story.capabilities.iter().map(|word| (*word).into()).collect();
    let address = std::net::SocketAddr::from(([10, 0, 0, index as u8 + 1], 50051));
    let endpoint = Endpoint::new(address).with_attributes(attributes);
    let view = SubchannelView::new(Slot::new(index, 0), Arc::new(endpoint), ConnectivityState::Ready, Arc::default());
    // Ten calls a second until now; what failed, failed of late.
    let calls = story.succeeded + story.failed;
    for call in 0..calls {
        let outcome = if call < story.succeeded { Outcome::Success } else { Outcome::Failure };
        view.stats.begin();
        view.stats.finish(&Done::new(view.slot, now - Duration::from_millis(100) * (calls - call), story.takes, outcome));
    }
    (0..story.in_flight).for_each(|_| view.stats.begin());
    view
}

/// Asks a policy for its scores, prints them as a table, best first, and says who is best and who got each of a thousand calls.
fn show(policy: &str, config: &Value, hints: &PickHints, now: Instant) -> Result<(&'static str, Vec<&'static str>), Failure> {
    let view: Vec<SubchannelView> = STORIES.iter().zip(0..).map(|(story, index)| row(index, story, now)).collect();
    let picker = PolicyRegistry::default().build(policy, config)?.rebuild(now, &view, &mut Plan::new(1)).picker;
    let (headers, mut scratch) = (HeaderMap::new(), Scratch::new(1));
    let mut scores = picker.explain(&mut PickArgs::new(now, "/shop/Place", &headers, hints, &mut scratch));
    scores.sort_by(|one, other| other.total.total_cmp(&one.total));

    println!("\n{policy} {config}");
    let longest = scores.iter().max_by_key(|score| score.parts.len()).ok_or("there are endpoints, yet no scores")?;
    let head: Vec<String> = longest.parts.iter().map(|(name, _)| format!("{name:>13}")).collect();
    println!("  {:<9}{:>7} {}  why", "endpoint", "total", head.concat());
    for score in &scores {
        let parts: String = score.parts.iter().map(|(_, part)| format!("{part:>13.2}")).collect();
        let (name, width) = (STORIES[score.slot.index()].name, 13 * longest.parts.len());
        println!("  {name:<9}{:>7.2} {parts:<width$}  {}", score.total, score.reason);
    }
    let mut picked = Vec::new();
    for _ in 0..1_000 {
        match picker.pick(&mut PickArgs::new(now, "/shop/Place", &headers, hints, &mut scratch)) {
            PickResult::Pick(slot) => picked.push(STORIES[slot.index()].name),
            other => return Err(format!("every endpoint is READY, yet {other:?}").into()),
        }
    }
    let shares: Vec<String> = STORIES
        .iter()
        .map(|story| format!("{} {:.1} %", story.name, picked.iter().filter(|name| **name == story.name).count() as f64 / 10.0))
        .collect();
    println!("  of 1000 calls: {}", shares.join(", "));
    Ok((STORIES[scores[0].slot.index()].name, picked))
}

fn main() -> Result<(), Failure> {
    let now = Instant::now();

    // Without wishes: the proportions of a preset. Each call compares two endpoints at random, so the best gets most, not all.
    let (best, picked) = show("weighted", &json!({}), &PickHints::default(), now)?;
    assert_eq!(best, "far", "it is as heavy as any, and idle");
    let broken = picked.iter().filter(|name| **name == "broken").count();
    assert!(broken < 30, "what fails gets next to nothing, though it is idle: {broken} of 1000");

    // A call that needs a GPU: the endpoint that can do that and nothing else, so that general ones stay free for others.
    let mut hints = PickHints::default();
    hints.require.push("gpu".into());
    let (best, _) = show("capability_aware", &json!({}), &hints, now)?;
    assert_eq!(best, "gpu-only");

    // Factors of your own: near matters most, then price; among all endpoints.
    let mut hints = PickHints::default();
    hints.locality = Some(Locality::new("eu-west", "", ""));
    let config = json!({"factors": {"locality": 0.5, "cost": 0.3, "capacity": 0.2}, "choiceCount": 0});
    let (best, _) = show("score", &config, &hints, now)?;
    assert_eq!(best, "small");

    // Rules for kinds of work: this kind suits one endpoint, by name.
    let mut hints = PickHints::default();
    hints.kind = Some("invoices".into());
    let config = json!({"rules": [{"kind": "invoices", "ids": ["small"]}]});
    let (best, _) = show("task", &config, &hints, now)?;
    assert_eq!(best, "small");
    Ok(())
}
