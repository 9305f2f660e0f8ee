//! Selecting endpoints without any network: a program that places tasks on machines it reaches by other means.
//! Everything is said by hand; the same policies, wishes and errors as a channel's.
//! Run it with `cargo run --example selector`.

use std::time::{Duration, Instant};

use evenkeel::selector::{EndpointData, HealthReport, Selector, SelectorError};
use evenkeel::{Endpoint, Outcome, PickHints};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Instant::now();
    let mut selector = Selector::new(7, "least_request", &json!({}))?;

    // Endpoints come as values or as data.
    for (id, region, capabilities) in [("a", "eu", json!(["gpu"])), ("b", "eu", json!([])), ("c", "us", json!(["gpu"]))] {
        let address = format!("10.0.0.{}:50051", selector.stats().total + 1);
        let data =
            json!({"addresses": [address], "id": id, "capacity": 10, "capabilities": capabilities, "locality": {"region": region}});
        selector.add(now, Endpoint::try_from(serde_json::from_value::<EndpointData>(data)?)?)?;
    }

    // A task of cost 4 that needs a GPU, in Europe if possible, and nobody above 80 % of the capacity.
    let task = PickHints::new().require("gpu").prefer_region("eu").not_overloaded().cost(4);
    let first = selector.select(now, &task)?;
    println!("a task goes to      {} ({:?})", first.key, first.attributes.id);
    assert_eq!(first.attributes.id.as_deref(), Some("a"));

    // Two of them fill `a` to its threshold; the third goes to the other region.
    let second = selector.select(now, &task)?;
    let third = selector.select(now, &task)?;
    println!("the third goes to   {} ({:?})", third.key, third.attributes.id);
    assert_eq!(third.attributes.id.as_deref(), Some("c"));

    // Outcomes free what was taken, and policies learn from them.
    for selection in [first, second, third] {
        selector.report(now, selection.ticket, Outcome::Success, Some(Duration::from_millis(120)))?;
    }

    // Load and health set from outside count as well. What nothing fits is counted, for people and for programs.
    selector.set_load(now, "a", 0.95)?;
    selector.set_health(now, "c", HealthReport::unhealthy("disk full"))?;
    let Err(SelectorError::NothingFits(unfit)) = selector.select(now, &task) else { return Err("somebody fits".into()) };
    println!("no endpoint fits:   {unfit}");
    assert_eq!((unfit.endpoints, unfit.removed.len()), (3, 3));

    // Why, endpoint by endpoint.
    for row in selector.explain(now, &task)? {
        println!("  {:<16} {:<5} {}", row.endpoint, row.total, row.reason);
    }

    // Every operation is also data in and data out, for a program in another language.
    let reply = selector.apply_json(now, &json!({"op": "select", "options": {"region": "eu", "loadThreshold": true}}));
    println!("as data:            {reply}");
    assert_eq!(reply["ok"]["attributes"]["id"], "b");
    println!("events:             {}", selector.take_events().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    println!("statistics:         {}", serde_json::to_string(&selector.stats())?);
    Ok(())
}
