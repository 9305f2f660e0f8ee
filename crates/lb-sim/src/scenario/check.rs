//! Which values of a scenario make sense.

use std::ops::RangeInclusive;

use lb_core::ConfigError;

use super::{Incident, Scenario, What};

/// As good as 0 where a value must be above it.
const LEAST: f64 = 1e-6;

/// A client keeps about 1 KiB for each server, connected or not: this many are 4 GiB.
const MOST_PAIRS: usize = 4_000_000;

pub(super) fn check(scenario: &Scenario) -> Result<(), ConfigError> {
    if scenario.loads.is_empty() {
        return Err(ConfigError::new("loads", "[]", "at least one number"));
    }
    scenario.loads.iter().enumerate().try_for_each(|(at, load)| number(&format!("loads[{at}]"), *load, LEAST..=10.0))?;
    count("clients", scenario.clients, 1..=10_000)?;
    number("warmup", scenario.warmup, 0.0..=1_000.0)?;
    number("seconds", scenario.seconds, LEAST..=10_000.0)?;
    number("deadline", scenario.deadline, 0.001..=1_000.0)?;
    number("network_ms", scenario.network_ms, 0.0..=1_000.0)?;
    servers(scenario)?;
    count("clients × servers", scenario.clients * scenario.all_servers(), 1..=MOST_PAIRS)?;
    number("work.mean_ms", scenario.work.mean_ms, LEAST..=100_000.0)?;
    number("work.deviation_ms", scenario.work.deviation_ms, 0.0..=100_000.0)?;
    keys(scenario)?;
    scenario.events.iter().enumerate().try_for_each(|(at, incident)| event(scenario, at, incident))
}

fn servers(scenario: &Scenario) -> Result<(), ConfigError> {
    let servers = &scenario.servers;
    count("servers.count", servers.count, 1..=10_000)?;
    count("servers.spare", servers.spare, 0..=10_000)?;
    number("servers.cores", servers.cores, 0.001..=10_000.0)?;
    number("servers.contended", servers.contended, 0.0..=1.0)?;
    count("servers.zones", servers.zones, 1..=100)?;
    for (at, kind) in servers.kinds.iter().enumerate() {
        number(&format!("servers.kinds[{at}].share"), kind.share, 0.0..=1.0)?;
        number(&format!("servers.kinds[{at}].speed"), kind.speed, 0.001..=1_000.0)?;
    }
    let shares: f64 = servers.kinds.iter().map(|kind| kind.share).sum();
    if shares > 1.0 + LEAST {
        return Err(ConfigError::new("servers.kinds", shares, "shares that add up to at most 1"));
    }
    Ok(())
}

fn keys(scenario: &Scenario) -> Result<(), ConfigError> {
    let Some(keys) = &scenario.keys else { return Ok(()) };
    count("keys.count", keys.count, 1..=100_000)?;
    number("keys.skew", keys.skew, 0.0..=5.0)?;
    number("keys.cold_factor", keys.cold_factor, 1.0..=1_000.0)?;
    number("keys.warm_seconds", keys.warm_seconds, 0.0..=10_000.0)
}

fn event(scenario: &Scenario, at: usize, incident: &Incident) -> Result<(), ConfigError> {
    let field = |name: &str| format!("events[{at}].{name}");
    number(&field("at"), incident.at, 0.0..=11_000.0)?;
    number(&field("every"), incident.every, 0.0..=1_000.0)?;
    if let Some([from, to]) = incident.servers {
        count(&field("servers[1]"), to, 1..=scenario.all_servers())?;
        count(&field("servers[0]"), from, 0..=to - 1)?;
    }
    if let Some(zone) = incident.zone {
        count(&field("zone"), zone, 0..=scenario.servers.zones - 1)?;
    }
    match incident.what {
        What::Fail { share, ms } => {
            number(&field("what.fail.share"), share, 0.0..=1.0)?;
            number(&field("what.fail.ms"), ms, 0.0..=100_000.0)
        }
        What::Speed(speed) => number(&field("what.speed"), speed, 0.001..=1_000.0),
        What::Restart { seconds } => number(&field("what.restart.seconds"), seconds, 0.0..=10_000.0),
        What::Stall { seconds, every } => {
            number(&field("what.stall.seconds"), seconds, 0.0..=1_000.0)?;
            let again = if every == 0.0 { 0.0 } else { seconds };
            number(&field("what.stall.every"), every, again..=1_000.0)
        }
        What::Load(load) => number(&field("what.load"), load, LEAST..=10.0),
        What::Kill | What::Start | What::Drain | What::Add | What::Remove => Ok(()),
    }
}

/// NaN is in no range.
fn number(field: &str, value: f64, allowed: RangeInclusive<f64>) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(field, value, format!("a number from {} to {}", allowed.start(), allowed.end())))
}

fn count(field: &str, value: usize, allowed: RangeInclusive<usize>) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(field, value, format!("a whole number from {} to {}", allowed.start(), allowed.end())))
}
