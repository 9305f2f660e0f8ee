//! One table per figure: a row for each cell, a column for each client.

use lb_bench::{BenchError, Column, Table};

use super::cell::Group;
use super::run::Outcome;
use super::subject::Subject;

/// Ratios of a figure to `balance_list`, medians over rounds; a cell's own clients only. Clients that were nowhere measured have no column.
pub(crate) fn ratios(outcomes: &[Outcome], group: Group, figure: &str) -> Result<Table, BenchError> {
    let outcomes: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.cell.group == group).collect();
    let measured = |subject: &Subject| outcomes.iter().any(|outcome| outcome.subjects.contains(subject));
    let subjects: Vec<Subject> =
        Subject::ALL.into_iter().filter(|subject| *subject != Subject::BalanceList && measured(subject)).collect();
    let columns = subjects.iter().map(|subject| Column::right(subject.name()));
    let mut table = Table::new([Column::left("cell")].into_iter().chain(columns));
    for outcome in outcomes {
        let mut row = vec![outcome.cell.to_string()];
        for subject in &subjects {
            let place = outcome.subjects.iter().position(|other| other == subject);
            let ratio = place.map(|place| outcome.measured.ratio(place, 0, figure)).transpose()?;
            row.push(ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median)));
        }
        table.push(row)?;
    }
    Ok(table)
}
