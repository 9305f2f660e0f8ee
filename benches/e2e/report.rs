//! Everything measured, as tables, plots and files.

use lb_bench::{Bars, BenchError, Column, Spread, Suite, Table};
use serde_json::json;

use super::cell::Group;
use super::goals::{Figure, GOALS, Goal};
use super::instructions::Instructions;
use super::measure::{CPU, P50, P99, RATE};
use super::options::Plan;
use super::run::Outcome;
use super::subject::Subject;
use super::summary;

const INTRODUCTION: &str = "Ratios are to tonic's `Channel::balance_list` in the same round: medians over rounds, and for CPU the least and the most. Then \
medians of what was measured. CPU is the client's, all its threads, per call; a call of a stream is one message out and one back. Allocations and bytes are of the \
client's process, per call; those of other processes are not known. A cell's name says server, placement, kind of call, bytes each way, endpoints, security and calls \
at once. `split`: a core for one client thread and one for the servers; `same`: one core for both; `two`: two client threads and the servers on both cores.";

/// What is shown of all cells at a glance.
const SUMMARIES: [(&str, &str); 4] = [("Client CPU per call", CPU), ("Calls per second", RATE), ("p50", P50), ("p99", P99)];

/// Begins the report; before anything is measured, because its head says how the machine was then.
pub(crate) fn begin(plan: &Plan) -> Result<Suite, BenchError> {
    let mut suite = Suite::new("e2e", "Calls end to end", &plan.options)?;
    suite.note(INTRODUCTION);
    Ok(suite)
}

/// Writes what came of all cells.
pub(crate) fn write(
    mut suite: Suite,
    outcomes: &[Outcome],
    instructions: Option<&[Instructions]>,
    failures: &[String],
) -> Result<(), BenchError> {
    failures.iter().for_each(|failure| suite.note(format!("**Failed:** {failure}.")));
    suite.section("Goals");
    suite.table(&goals(outcomes, instructions)?);
    if let Some(instructions) = instructions {
        suite.section("Instructions per call");
        suite.note(
            "Of the client's process, without the kernel's; 128 unary calls of 100 bytes at once, light servers, one thread.",
        );
        let table = instructions_table(&mut suite, instructions)?;
        suite.table(&table);
    }
    for (subject, reason) in skipped(outcomes) {
        suite.note(format!("Not measured: {} ({reason}).", subject.name()));
    }
    for (headline, figure) in SUMMARIES {
        suite.section(&format!("{headline} against balance_list"));
        for group in [Group::Main, Group::Extras] {
            suite.table(&summary::ratios(outcomes, group, figure)?);
        }
    }
    for outcome in outcomes {
        suite.section(&outcome.cell.to_string());
        suite.table(&cell(outcome)?);
        suite.measured(&outcome.cell.to_string(), &outcome.measured)?;
        allocated(&mut suite, outcome);
        suite.plot(bars(outcome)?);
    }
    suite.write().map(drop)
}

/// Who was left out anywhere, each reason once.
fn skipped(outcomes: &[Outcome]) -> Vec<(Subject, String)> {
    let mut all: Vec<(Subject, String)> = Vec::new();
    for skipped in outcomes.iter().flat_map(|outcome| &outcome.skipped) {
        if !all.contains(skipped) {
            all.push(skipped.clone());
        }
    }
    all
}

fn goals(outcomes: &[Outcome], instructions: Option<&[Instructions]>) -> Result<Table, BenchError> {
    let columns = ["goal", "what", "where"].map(Column::left).into_iter();
    let mut table = Table::new(columns.chain(["target", "measured"].map(Column::right)).chain([Column::left("met")]));
    for goal in &GOALS {
        let (shown, value) = measured(goal, outcomes, instructions)?.unzip();
        let [shown, target] = [shown.unwrap_or_default(), goal.bound.to_string()];
        let verdict = goal.verdict(value).to_owned();
        table.push([goal.id.to_owned(), goal.what(), goal.cell.to_owned(), target, shown, verdict])?;
    }
    Ok(table)
}

/// What a goal is about, as shown and as compared; `None` if that was not measured.
fn measured(goal: &Goal, outcomes: &[Outcome], instructions: Option<&[Instructions]>) -> Result<Option<(String, f64)>, BenchError> {
    let place = |outcome: &Outcome| outcome.subjects.iter().position(|subject| *subject == goal.subject);
    let found = outcomes.iter().find(|outcome| goal.is_of(&outcome.cell));
    let found = found.and_then(|outcome| Some((outcome, place(outcome)?)));
    Ok(match (goal.figure, found) {
        (Figure::Ratio(figure), Some((outcome, place))) => {
            let ratio = outcome.measured.ratio(place, 0, figure)?;
            Some((ratio.to_string(), ratio.median))
        }
        (Figure::OverPlain, Some((outcome, place))) => {
            let plain = outcome.subjects.iter().position(|subject| *subject == Subject::RoundRobin);
            let ratio = plain.map(|plain| outcome.measured.ratio(place, plain, CPU)).transpose()?;
            ratio.map(|ratio| (ratio.to_string(), ratio.median))
        }
        (Figure::Allocations, Some((outcome, place))) => {
            outcome.allocated[place].map(|[count, _]| (format!("{count:.2}"), round(count)))
        }
        (Figure::OverTransport, _) => instructions.and_then(|instructions| {
            let of = |subject| instructions.iter().find(|one| one.subject == subject && one.endpoints == 1);
            let ratio = of(Subject::RoundRobin)?.per_call / of(Subject::Direct)?.per_call;
            Some((format!("{ratio:.3}"), ratio))
        }),
        (Figure::Ratio(_) | Figure::OverPlain | Figure::Allocations, None) => None,
    })
}

/// To a tenth: a buffer that grows once in a while is not an allocation per call.
fn round(count: f64) -> f64 {
    (count * 10.0).round() / 10.0
}

fn instructions_table(suite: &mut Suite, instructions: &[Instructions]) -> Result<Table, BenchError> {
    let mut table = Table::new([Column::left("client"), Column::right("endpoints"), Column::right("instructions")]);
    for Instructions { subject, endpoints, per_call } in instructions {
        table.push([subject.name().to_owned(), endpoints.to_string(), format!("{per_call:.0}")])?;
        suite.fact(&format!("instructions {subject} {endpoints}ep"), json!(per_call));
    }
    Ok(table)
}

fn cell(outcome: &Outcome) -> Result<Table, BenchError> {
    let numbers = ["CPU", "calls/s", "p50", "p99", "CPU µs", "calls/s", "p50 µs", "p99 µs", "allocations", "bytes"];
    let mut table = Table::new([Column::left("client")].into_iter().chain(numbers.map(Column::right)));
    for (place, subject) in outcome.subjects.iter().enumerate() {
        let ratio = |figure| outcome.measured.ratio(place, 0, figure);
        let median = |figure| outcome.measured.spread(place, figure).map(|spread: Spread| spread.median);
        let mut row = vec![subject.name().to_owned(), ratio(CPU)?.to_string()];
        for figure in [RATE, P50, P99] {
            row.push(format!("{:.2}", ratio(figure)?.median));
        }
        row.extend([format!("{:.1}", median(CPU)?), format!("{:.0}", median(RATE)?)]);
        row.extend([format!("{:.0}", median(P50)?), format!("{:.0}", median(P99)?)]);
        let known = outcome.allocated[place].map(|[count, bytes]| [format!("{count:.1}"), format!("{bytes:.0}")]);
        row.extend(known.unwrap_or_default());
        table.push(row)?;
    }
    Ok(table)
}

fn allocated(suite: &mut Suite, outcome: &Outcome) {
    for (subject, allocated) in outcome.subjects.iter().zip(&outcome.allocated) {
        if let Some([count, bytes]) = allocated {
            suite.fact(&format!("allocated {} {subject}", outcome.cell), json!({"count": count, "bytes": bytes}));
        }
    }
}

fn bars(outcome: &Outcome) -> Result<Bars, BenchError> {
    let what = match outcome.cell.group {
        Group::Main => "Client CPU per call",
        Group::Extras => "Client CPU per call, with more switched on",
    };
    let mut bars = Bars::new(format!("{what}: {}", outcome.cell), CPU);
    for (place, subject) in outcome.subjects.iter().enumerate() {
        bars.push(subject.name(), outcome.measured.spread(place, CPU)?);
    }
    Ok(bars)
}
