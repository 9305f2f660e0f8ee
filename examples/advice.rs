//! What to do about load: who is overloaded, what should move, in which order a queue should be worked off, how many endpoints there
//! should be. No network: loads are data, here from JSON; a channel's own come from its snapshot by `Load::of`.
//! Run it with `cargo run --example advice`.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use evenkeel::advice::{
    Forecast, Limits, Load, ScalingConfig, ScalingSignal, Work, assign_batch, detect_overload, reorder_queue, suggest_migrations,
};
use evenkeel::{LbEvent, Observer};
use serde_json::json;

type Failure = Box<dyn Error>;

/// Hears what an autoscaler or an operator would.
#[derive(Debug)]
struct Herald;

impl Observer for Herald {
    fn on_event(&self, event: &LbEvent) {
        println!("  event: {event}");
    }
}

fn main() -> Result<(), Failure> {
    let loads: Vec<Load> = serde_json::from_value(json!([
        {"endpoint": "10.0.0.1:50051", "inFlight": 96, "capacity": 100, "sessions": 48, "queued": 6},
        {"endpoint": "10.0.0.2:50051", "inFlight": 30, "capacity": 100, "sessions": 15},
        {"endpoint": "10.0.0.3:50051", "inFlight": 20, "capacity": 50, "capabilities": ["gpu"]},
        {"endpoint": "10.0.0.4:50051", "inFlight": 0, "capacity": 100, "sessions": 5, "healthy": false},
    ]))?;

    println!("who is overloaded?");
    let (limits, mut overloaded) = (Limits::default(), BTreeSet::new());
    for change in detect_overload(&limits, &mut overloaded, &loads) {
        Herald.on_event(&change.event());
    }
    assert_eq!(overloaded.len(), 1);
    assert!(detect_overload(&limits, &mut overloaded, &loads).is_empty(), "said once");

    println!("what should move?");
    let migrations = suggest_migrations(&limits, &loads);
    for advice in &migrations {
        println!(
            "  urgency {:>2}: {:>2} {:?} from {} to {} ({})",
            advice.urgency, advice.count, advice.moving, advice.from, advice.to, advice.reason
        );
    }
    assert_eq!(migrations[0].urgency, 10, "sessions of an endpoint that is not healthy come first");

    println!("in which order, and where to?");
    let queue: Vec<Work> = serde_json::from_value(json!([
        {"id": "report", "priority": 1, "sinceSeconds": 0},
        {"id": "render", "priority": 5, "cost": 20, "require": ["gpu"], "sinceSeconds": 290},
        {"id": "train", "priority": 5, "cost": 20, "require": ["gpu"], "sinceSeconds": 280},
        {"id": "login", "priority": 9, "sinceSeconds": 299},
    ]))?;
    let ordered = reorder_queue(&loads, &queue, Duration::from_secs(300), Duration::from_secs(60));
    for queued in &ordered {
        let to = queued.assignment.endpoint.as_ref().map_or("nowhere yet", |endpoint| endpoint.as_str());
        println!("  priority {}: {:<7} to {to} ({})", queued.priority, queued.assignment.work, queued.assignment.reason);
    }
    let order: Vec<&str> = ordered.iter().map(|queued| &*queued.assignment.work).collect();
    assert_eq!(order, ["login", "report", "train", "render"], "five minutes of waiting are worth five of priority");
    assert!(ordered[3].assignment.endpoint.is_none(), "the GPU is full once `train` is counted");

    println!("the same as a batch, which does not wait");
    for assignment in assign_batch(&loads, &queue) {
        println!("  {}", serde_json::to_string(&assignment)?);
    }

    println!("how many endpoints?");
    let mut signal = ScalingSignal::new(ScalingConfig::default())?;
    let mut forecast = Forecast::default();
    let mut advised = None;
    for second in 0..60 {
        let now = Duration::from_secs(second);
        let in_flight = 40 + second as u32 / 2;
        let loads = ["a:1", "b:1", "c:1"].map(|key| {
            let mut load = Load::new(key);
            (load.in_flight, load.capacity) = (in_flight, Some(100));
            load
        });
        forecast.observe(now, f64::from(in_flight));
        if let Some(advice) = signal.observe(now, &loads) {
            println!("  after {second} s, at {in_flight} % load:");
            Herald.on_event(&advice.event());
            advised.get_or_insert((in_flight, advice.desired));
        }
    }
    let soon = forecast.predict(Duration::from_secs(30)).ok_or("nothing was observed")?;
    println!("  in 30 s {:.0} ± {:.1} calls in flight at each endpoint", soon.value, soon.error);
    assert!(
        advised.is_some_and(|(in_flight, desired)| in_flight < 80 && desired > 3),
        "advised before the load is there: {advised:?}"
    );
    Ok(())
}
