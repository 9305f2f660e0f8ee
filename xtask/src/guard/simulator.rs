//! Policies against simulated calls: the 99th percentile of each must be what the committed tables say, or better.
//!
//! The tables of `docs/POLICIES.md` are the yardstick, and the command that stands above each is the one that is run: simulated time and
//! seeds make every run of it give the same numbers on any machine. A policy that gets better by much should have its table made anew too.

use std::collections::BTreeMap;

use crate::error::{Context as _, Error, Result};
use crate::{shell, workspace};

/// Scenarios that take seconds each and differ in what they ask of a policy: an endpoint that gets slow, one that is stopped now and then,
/// one that fails fast, all of them restarting in turn, and the paper's testbed of a hundred servers with uneven ones among them. The others
/// take a minute and more.
const SCENARIOS: [&str; 5] = ["one_slow", "pause", "one_fast_failing", "rolling_restart", "clients_10"];

const TABLES: &str = "docs/POLICIES.md";

/// How much worse a p99 may be than its table says, as a share.
const MARGIN: f64 = 0.05;

/// Tables give whole milliseconds.
const ROUNDING: f64 = 0.5;

/// Milliseconds of the 99th percentile, by load and policy, each as the reports print it.
type P99s = BTreeMap<(String, String), f64>;

/// Runs the scenarios; what is worse than its table, if anything.
pub(super) fn complaints() -> Result<Vec<String>> {
    let tables = workspace::root().join(TABLES);
    let text = std::fs::read_to_string(&tables).context(tables.display())?;
    let mut complaints = Vec::new();
    for scenario in SCENARIOS {
        let section = section(&text, scenario)?;
        let results = workspace::scratch()?.join(format!("{scenario}.csv"));
        let mut command = shell::cargo();
        // The benchmarks' profile, whose libraries are built by then.
        command.args(["run", "--quiet", "--profile", "bench", "--package", "lb-sim", "--"]).args(arguments(section, scenario)?);
        shell::capture(command.arg("--csv").arg(&results))?;
        let results = measured(&std::fs::read_to_string(&results).context(results.display())?)?;
        complaints.extend(compare(scenario, &committed(section)?, &results));
    }
    Ok(complaints)
}

/// What stands below the scenario's heading.
fn section<'a>(text: &'a str, scenario: &str) -> Result<&'a str> {
    let heading = format!("\n### {scenario}\n");
    let (_, section) = text.split_once(&heading).ok_or_else(|| Error::new(format!("{TABLES} has no section `{scenario}`")))?;
    Ok(section.split("\n## ").next().and_then(|rest| rest.split("\n### ").next()).unwrap_or(section))
}

/// The arguments with which the section's tables were made.
fn arguments<'a>(section: &'a str, scenario: &str) -> Result<Vec<&'a str>> {
    let commands = section.split('`').filter_map(|quoted| quoted.strip_prefix("lb-sim "));
    let mut arguments = commands.map(|command| command.split_whitespace().collect::<Vec<_>>());
    let named = arguments.find(|arguments| arguments.first() == Some(&scenario));
    named.ok_or_else(|| Error::new(format!("{TABLES} does not say how the tables of `{scenario}` are made")))
}

/// The tables of a section.
fn committed(section: &str) -> Result<P99s> {
    let (mut load, mut column, mut found) = ("", None, P99s::new());
    for line in section.lines() {
        if let Some(named) = line.strip_prefix("Load ") {
            (load, column) = (named, None);
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match column {
            _ if !line.starts_with("| ") => {}
            None => column = cells.iter().position(|cell| *cell == "p99"),
            Some(column) => {
                let p99 = cells.get(column).and_then(|cell| cell.parse().ok());
                let p99 = p99.ok_or_else(|| Error::new(format!("{TABLES}: `{line}` has no p99")))?;
                found.insert((load.to_owned(), cells[0].to_owned()), p99);
            }
        }
    }
    if found.is_empty() { Err(Error::new(format!("{TABLES} has a section without tables of p99"))) } else { Ok(found) }
}

/// The laboratory's CSV: of each run the line that sums it up, the one without a second.
fn measured(csv: &str) -> Result<P99s> {
    let mut lines = csv.lines();
    let heads: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let place = |name: &str| heads.iter().rev().position(|head| *head == name);
    let (Some(p99), Some(second)) = (place("p99_ms"), place("second")) else {
        return Err(Error::new("the laboratory's results have no `p99_ms` or no `second`"));
    };
    let mut found = P99s::new();
    for line in lines {
        // From the right, where no field holds a comma.
        let fields: Vec<&str> = line.rsplitn(second + 2, ',').collect();
        if fields.get(second) != Some(&"") {
            continue;
        }
        let run = fields.last().and_then(|run| run.split_once(','));
        let (Some((load, policy)), Ok(p99)) = (run, fields[p99].parse()) else {
            return Err(Error::new(format!("the laboratory's line `{line}` cannot be read")));
        };
        found.insert((load.to_owned(), policy.trim_matches('"').to_owned()), p99);
    }
    Ok(found)
}

fn compare(scenario: &str, committed: &P99s, measured: &P99s) -> Vec<String> {
    let mut complaints = Vec::new();
    for ((load, policy), table) in committed {
        let name = format!("{scenario}, load {load}, {policy}");
        match measured.get(&(load.clone(), policy.clone())) {
            None => complaints.push(format!("{name}: is in the table and was not run")),
            Some(p99) if *p99 > (table + ROUNDING) * (1.0 + MARGIN) => {
                let worse = 100.0 * (p99 / table - 1.0);
                complaints.push(format!("{name}: p99 is {p99:.0} ms, the table has {table:.0} ms ({worse:.1} % worse)"));
            }
            Some(_) => {}
        }
    }
    let untold = measured.keys().filter(|run| !committed.contains_key(*run));
    complaints.extend(untold.map(|(load, policy)| format!("{scenario}, load {load}, {policy}: is not in the table")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = "\
Something slow.
`lb-sim slow --seeds 4`; [picture](sim/slow.svg).

Load 0.5

| policy | p50 ms | p90 | p99 | p99.9 |
|---|--:|--:|--:|--:|
| random | 80 | 90 | 100 | 120 |
| prequal (no probes) | 80 | 90 | 200 | 220 |
";

    const CSV: &str = "\
load,policy,second,calls,p90_ms,p99_ms,moved
0.5,random,,9,1.0,105.4,0
0.5,random,0,9,1.0,999.0,
0.5,prequal (no probes),,9,1.0,210.6,0
";

    #[test]
    fn the_document_says_what_to_run_and_what_to_expect() {
        let text = format!("# Head\n\n### other\n\nx\n\n### slow\n\n{SECTION}\n### last\n\nLoad 1\n");
        let section = section(&text, "slow").unwrap();
        assert_eq!(arguments(section, "slow").unwrap(), ["slow", "--seeds", "4"]);
        let p99s = committed(section).unwrap();
        assert_eq!(p99s.len(), 2);
        assert_eq!(p99s[&("0.5".to_owned(), "prequal (no probes)".to_owned())], 200.0);
        assert!(committed("no tables").is_err() && super::section(&text, "none").is_err());
    }

    #[test]
    fn what_is_more_than_a_twentieth_worse_is_named_with_both_numbers() {
        let complaints = compare("slow", &committed(SECTION).unwrap(), &measured(CSV).unwrap());
        // 105.4 is within 5 % of what is written as 100; 210.6 is more than 5 % above 200.5.
        assert_eq!(complaints, ["slow, load 0.5, prequal (no probes): p99 is 211 ms, the table has 200 ms (5.3 % worse)"]);
    }

    #[test]
    fn a_policy_cannot_slip_out_of_the_guard() {
        let one = measured("load,policy,second,p99_ms\n0.5,random,,90\n0.5,new,,90\n").unwrap();
        let complaints = compare("slow", &committed(SECTION).unwrap(), &one);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("was not run") && complaints[1].contains("new: is not in the table"), "{complaints:?}");
    }

    #[test]
    fn the_committed_tables_are_found() {
        let text = std::fs::read_to_string(workspace::root().join(TABLES)).unwrap();
        for scenario in SCENARIOS {
            let section = section(&text, scenario).unwrap();
            assert_eq!(arguments(section, scenario).unwrap()[0], scenario);
            assert!(committed(section).unwrap().len() >= 16);
        }
    }
}
