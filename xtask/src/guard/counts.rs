//! Counting the instructions of every policy's picks.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Context as _, Error, Result};
use crate::{shell, workspace};

use super::tools::Tools;

/// Picks of one count, as `lb-guard` makes them.
const PICKS: f64 = 1024.0;

/// At how many endpoints `lb-guard` counts each policy, in its order.
const ENDPOINTS: [u32; 2] = [10, 10_000];

/// Instructions per pick, by policy and number of endpoints.
pub(super) type Counts = BTreeMap<(String, u32), f64>;

/// Counts them all.
pub(super) fn of_all_picks(tools: &Tools) -> Result<Counts> {
    let mut bench = shell::cargo();
    bench.args(["bench", "--package", "lb-guard", "--bench", "guard", "--", "--output-format=json", "--parallel=auto"]);
    tools.describe_to(&mut bench);
    let said = shell::capture(&mut bench)?;
    let counts: Counts = said.lines().filter(|line| line.starts_with('{')).map(count).collect::<Result<_>>()?;
    if counts.is_empty() { Err(Error::new("the benchmark counted nothing")) } else { Ok(counts) }
}

/// From the runner's summary of one benchmark.
fn count(line: &str) -> Result<((String, u32), f64)> {
    let summary: Value = serde_json::from_str(line).context("the runner's summary is no JSON")?;
    let id = workspace::text(&summary["id"]);
    let case = case(&id).ok_or_else(|| Error::new(format!("the runner names a benchmark `{id}`, which is no policy and size")))?;
    let instructions = instructions(&summary).ok_or_else(|| Error::new(format!("the runner counted no instructions of `{id}`")))?;
    Ok((case, instructions / PICKS))
}

/// From `round_robin_1`: the policy and the second size.
fn case(id: &str) -> Option<(String, u32)> {
    let (policy, size) = id.rsplit_once('_')?;
    Some((policy.to_owned(), *ENDPOINTS.get(size.parse::<usize>().ok()?)?))
}

/// `Ir` as callgrind calls it, of the run just made.
fn instructions(summary: &Value) -> Option<f64> {
    let profile = workspace::list(&summary["profiles"]).iter().find(|profile| profile["tool"] == "Callgrind")?;
    profile["data"]["total"]["metrics"]["Ir"]["values"]["new"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_summary_is_read() {
        let line = r#"{"id": "ring_hash_bounded_1", "profiles": [{"tool": "Callgrind", "data": {"total": {"metrics": {"Ir": {"values": {"new": 20480}}}}}}]}"#;
        assert_eq!(count(line).unwrap(), (("ring_hash_bounded".to_owned(), 10_000), 20.0));
        for wrong in ["", "{}", r#"{"id": "random_7"}"#, r#"{"id": "random_0", "profiles": []}"#] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }
}
