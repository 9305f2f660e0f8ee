//! A table, aligned for a terminal or as Markdown.

use std::fmt::Write as _;

use crate::compare::Line;
use crate::tally::Tally;

const LEFT: usize = 1;

/// Loads from which on Markdown shows one table of the 99th percentiles in place of one table each.
const MANY: usize = 3;

/// For a terminal: one table per load, and with many loads one of the 99th percentiles.
pub fn text(lines: &[Line]) -> String {
    let mut out = each_load(lines, aligned);
    if loads(lines) >= MANY {
        out.push_str(&by_load(lines, aligned));
    }
    out
}

/// As Markdown: one table per load; with many loads one of the 99th percentiles.
pub fn markdown(lines: &[Line]) -> String {
    if loads(lines) < MANY { each_load(lines, marked) } else { by_load(lines, marked) }
}

fn aligned(head: &[String], rows: &[Vec<String>]) -> String {
    let widths = widths(head, rows);
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate();
        let padded: Vec<String> = cells
            .map(|(column, (cell, width))| if column < LEFT { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let rows: Vec<String> = rows.iter().map(|row| line(row)).collect();
    format!("{}\n{}", line(head), rows.join("\n"))
}

fn marked(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule: String = (0..head.len()).map(|column| if column < LEFT { "|---" } else { "|--:" }).collect();
    let rows: Vec<String> = rows.iter().map(|row| line(row)).collect();
    format!("{}\n{rule}|\n{}", line(head), rows.join("\n"))
}

fn loads(lines: &[Line]) -> usize {
    lines.chunk_by(|one, other| one.load == other.load).count()
}

/// A row per candidate, a column per load.
fn by_load(lines: &[Line], table: impl Fn(&[String], &[Vec<String>]) -> String) -> String {
    let groups: Vec<&[Line]> = lines.chunk_by(|one, other| one.load == other.load).collect();
    let head: Vec<String> = ["policy".to_owned()].into_iter().chain(groups.iter().map(|group| group[0].load.to_string())).collect();
    let cell = |line: &Line| {
        let [p99] = line.tally.quantiles([0.99]);
        let timeouts = 100.0 * line.tally.timeout_share();
        if timeouts == 0.0 { format!("{p99:.0}") } else { format!("{p99:.0} ({timeouts:.2} %)") }
    };
    let row = |at: usize| {
        let cells = groups.iter().filter_map(|group| group.get(at)).map(cell);
        [groups[0][at].candidate.label.clone()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = (0..groups.first().map_or(0, |group| group.len())).map(row).collect();
    format!("p99 in ms by load (timeouts)\n\n{}\n\n", table(&head, &rows))
}

fn each_load(lines: &[Line], table: impl Fn(&[String], &[Vec<String>]) -> String) -> String {
    let mut out = String::new();
    for group in lines.chunk_by(|one, other| one.load == other.load) {
        let keyed = group.iter().any(|line| line.tally.keyed > 0);
        let probed = group.iter().any(|line| line.tally.probes > 0);
        let oracle = group.iter().find(|line| line.candidate.label == "oracle").map(|line| line.tally.quantiles([0.99])[0]);
        let head = head(keyed, probed, oracle.is_some());
        let rows: Vec<Vec<String>> = group.iter().map(|line| row(line, keyed, probed, oracle)).collect();
        let _ = writeln!(out, "Load {}\n\n{}\n", group[0].load, table(&head, &rows));
    }
    out
}

fn head(keyed: bool, probed: bool, oracle: bool) -> Vec<String> {
    let mut head = vec!["policy", "p50 ms", "p90", "p99", "p99.9", "errors %", "timeouts %", "max/mean"];
    head.extend(keyed.then_some(["moved %", "cold %"]).into_iter().flatten());
    head.extend(probed.then_some("probes/call"));
    head.extend(oracle.then_some("p99/oracle"));
    head.into_iter().map(str::to_owned).collect()
}

fn row(line: &Line, keyed: bool, probed: bool, oracle: Option<f64>) -> Vec<String> {
    let tally: &Tally = &line.tally;
    let quantiles = tally.quantiles([0.5, 0.9, 0.99, 0.999]);
    let mut row = vec![line.candidate.label.clone()];
    row.extend(quantiles.map(|latency| format!("{latency:.0}")));
    row.push(format!("{:.3}", 100.0 * tally.error_share()));
    row.push(format!("{:.3}", 100.0 * tally.timeout_share()));
    row.push(format!("{:.2}", tally.imbalance()));
    if keyed {
        row.push(format!("{:.1}", 100.0 * tally.moved_share().unwrap_or(0.0)));
        row.push(format!("{:.1}", 100.0 * tally.cold_share().unwrap_or(0.0)));
    }
    row.extend(probed.then(|| format!("{:.2}", tally.probes_per_call())));
    row.extend(oracle.map(|oracle| format!("{:.2}", quantiles[2] / oracle)));
    row
}

fn widths(head: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).chain([head[column].chars().count()]).max();
    (0..head.len()).map(|column| width(column).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::End;

    fn line(load: f64, policy: &str, ms: u64) -> Line {
        let mut tally = Tally::new(1, 1.0);
        tally.ended(0, ms * 1_000_000, End::GivenUp);
        Line { load, candidate: policy.parse().unwrap(), tally }
    }

    #[test]
    fn a_table_per_load_is_aligned_and_compares_with_the_oracle() {
        let text = text(&[line(0.5, "oracle", 100), line(0.5, "random", 250)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Load 0.5");
        assert!(lines[2].starts_with("policy  p50 ms") && lines[4].starts_with("random     250"), "{text}");
        assert!(lines[4].ends_with("100.000      0.00        2.50"), "{text}");
    }

    #[test]
    fn many_loads_make_one_table() {
        let text = markdown(&[1.0, 2.0, 3.0].map(|load| line(load, "random", load as u64)));
        assert!(text.ends_with("| random | 1 (100.00 %) | 2 (100.00 %) | 3 (100.00 %) |\n\n"), "{text}");
        assert!(text.contains("| policy | 1 | 2 | 3 |\n|---|--:|--:|--:|\n"), "{text}");
    }
}
