//! A table, aligned for a terminal or as Markdown.

use std::fmt::Write as _;

use crate::compare::Line;
use crate::tally::Tally;

const LEFT: usize = 1;

/// For a terminal: one table per load.
pub fn text(lines: &[Line]) -> String {
    each_load(lines, |head, rows| {
        let widths = widths(head, rows);
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).enumerate();
            let padded: Vec<String> = cells
                .map(|(column, (cell, width))| if column < LEFT { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let mut out = line(head);
        rows.iter().for_each(|row| {
            let _ = write!(out, "\n{}", line(row));
        });
        out
    })
}

/// As Markdown: one table per load.
pub fn markdown(lines: &[Line]) -> String {
    each_load(lines, |head, rows| {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let rule: String = (0..head.len()).map(|column| if column < LEFT { "|---" } else { "|--:" }).collect();
        let mut out = format!("{}\n{rule}|", line(head));
        rows.iter().for_each(|row| {
            let row: Vec<String> =
                row.iter().enumerate().map(|(at, cell)| if at < LEFT { format!("`{cell}`") } else { cell.clone() }).collect();
            let _ = write!(out, "\n{}", line(&row));
        });
        out
    })
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
