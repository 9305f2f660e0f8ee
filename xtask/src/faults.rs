//! Tables of the fault matrix: `tests/faults_matrix` leaves a line of JSON for each of its cells, here they become Markdown.
//!
//! For each way the channel was set up (`armour`), two tables of `failed of made`: by kind of call, with the policy that all kinds were tried
//! with, and by policy, with the kind of call that all policies were tried with. And one of every cell, with everything that is known of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Context as _, Result};
use crate::report::{Outcome, Report};
use crate::workspace;

/// The policy combined with every kind of call, and the kind of call combined with every policy.
const POLICY: &str = "round_robin";
const CALLS: &str = "unary";

/// In the order of the columns.
const KINDS: [&str; 5] = [CALLS, "unary, not idempotent", "server stream", "client stream", "bidi"];
const POLICIES: [&str; 7] = [POLICY, "least_request", "peak_ewma", "ring_hash", "prequal", "performance", "pick_first"];

/// Forgets what an earlier run left.
pub(crate) fn forget() -> Result<()> {
    let directory = directory()?;
    if directory.exists() { std::fs::remove_dir_all(&directory).context(directory.display()) } else { Ok(()) }
}

/// Writes the tables of what has run, and prints those for people; nothing if the matrix has not.
pub(crate) fn tables(report: &mut Report) {
    let Ok(directory) = directory() else { return };
    if !directory.exists() {
        return;
    }
    report.step("tables of the fault matrix", || {
        for (armour, cells) in cells(&directory)? {
            let short = format!("{}\n{}", by_kind(&cells), by_policy(&cells));
            write(&directory.join(format!("{armour}.md")), &format!("{short}\n{}", every(&cells)))?;
            println!("\nfaults, {armour}: calls failed of calls made\n\n{short}");
        }
        println!("every cell: {}", directory.display());
        Ok(Outcome::Passed)
    });
}

fn directory() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("faults"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).context(path.display())
}

/// The lines of every file, by armour and sorted by fault.
fn cells(directory: &Path) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut cells = BTreeMap::<String, Vec<Value>>::new();
    for entry in std::fs::read_dir(directory).context(directory.display())? {
        let path = entry.context(directory.display())?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).context(path.display())?.lines() {
            let cell: Value = serde_json::from_str(line).context(path.display())?;
            cells.entry(workspace::text(&cell["armour"])).or_default().push(cell);
        }
    }
    // Stable, so that the cells of a fault keep their order.
    cells.values_mut().for_each(|cells| cells.sort_by_key(|cell| workspace::text(&cell["fault"]).to_lowercase()));
    Ok(cells)
}

fn by_kind(cells: &[Value]) -> String {
    let mut head = vec!["fault"];
    head.extend(KINDS);
    head.extend(["twice", "slowest", "left after", "back after"]);
    let rows = faults(cells).into_iter().map(|(fault, cells)| {
        let of = |kind| cells.iter().find(|cell| cell["policy"] == POLICY && cell["calls"] == kind).map_or_else(dash, share);
        let mut row = vec![fault];
        row.extend(KINDS.map(of));
        let most = |field: &str| cells.iter().filter_map(|cell| cell[field].as_u64()).max();
        let twice: u64 = cells.iter().filter_map(|cell| cell["twice"].as_u64()).sum();
        row.push(twice.to_string());
        row.extend(["slowest_ms", "left_ms", "back_ms"].map(|field| most(field).map_or_else(dash, seconds)));
        row
    });
    table(&head, rows)
}

fn by_policy(cells: &[Value]) -> String {
    let mut head = vec!["fault"];
    head.extend(POLICIES);
    let rows = faults(cells).into_iter().map(|(fault, cells)| {
        let of = |policy| cells.iter().find(|cell| cell["policy"] == policy && cell["calls"] == CALLS).map_or_else(dash, share);
        [fault].into_iter().chain(POLICIES.map(of)).collect()
    });
    table(&head, rows)
}

fn every(cells: &[Value]) -> String {
    let head = ["fault", "policy", "calls", "made", "failed", "twice", "slowest", "left after", "back after"];
    let rows = cells.iter().map(|cell| {
        let words = ["fault", "policy", "calls"].map(|field| workspace::text(&cell[field]));
        let counts = ["made", "failed", "twice"].map(|field| cell[field].to_string());
        let times = ["slowest_ms", "left_ms", "back_ms"].map(|field| cell[field].as_u64().map_or_else(dash, seconds));
        words.into_iter().chain(counts).chain(times).collect()
    });
    table(&head, rows)
}

fn faults(cells: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut faults = BTreeMap::<String, Vec<&Value>>::new();
    for cell in cells {
        faults.entry(workspace::text(&cell["fault"])).or_default().push(cell);
    }
    faults
}

/// Failed of made.
fn share(cell: &&Value) -> String {
    format!("{} of {}", cell["failed"], cell["made"])
}

fn seconds(millis: u64) -> String {
    format!("{:.2} s", millis as f64 / 1000.0)
}

fn dash() -> String {
    "–".to_owned()
}

/// A Markdown table whose columns are as wide as what is in them.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<_> = [head.iter().map(|name| (*name).to_owned()).collect()].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row: &Vec<String>| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(fault: &str, policy: &str, calls: &str, failed: u64) -> Value {
        json!({"armour": "plain", "fault": fault, "policy": policy, "calls": calls, "made": 10, "failed": failed, "twice": 1,
            "slowest_ms": 1234, "left_ms": null, "back_ms": 5})
    }

    #[test]
    fn cells_become_rows_of_both_tables_and_what_was_not_tried_is_a_dash() {
        let cells = [cell("b", POLICY, CALLS, 3), cell("b", POLICY, "bidi", 4), cell("a", "ring_hash", CALLS, 0)];
        let kinds = by_kind(&cells);
        let lines: Vec<_> = kinds.lines().collect();
        assert!(lines[0].starts_with("| fault | unary"), "{kinds}");
        assert!(lines[2].starts_with("| a     | –"), "{kinds}");
        assert!(lines[3].contains("3 of 10") && lines[3].contains("4 of 10") && lines[3].contains("| 2     | 1.23 s"), "{kinds}");
        assert!(lines[3].contains("| –          | 0.01 s"), "{kinds}");
        assert!(by_policy(&cells).contains("0 of 10") && !by_policy(&cells).contains("4 of 10"));
        assert_eq!(every(&cells).lines().count(), 5);
    }
}
