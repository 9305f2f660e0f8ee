//! The command line.

use std::time::Duration;

use lb_bench::{BenchError, Options};

use super::cell::{Cell, ServerKind};
use super::subject::Subject;

/// What the program shall do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Be the servers' process: of a kind, with certificate and key in this directory if any.
    Serve(ServerKind, Option<String>),
    /// Make so many calls with one client in a cell, and end: for `valgrind`.
    Count(Subject, usize, Cell),
    Measure(Plan),
}

/// What is measured, and how long.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<Cell>,
    /// Empty means all.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// Whether instructions are counted too, where there is `valgrind`.
    pub(crate) instructions: bool,
    pub(crate) options: Options,
}

/// The argument that makes this program the servers' process.
pub(crate) const SERVE: &str = "--serve";

/// The argument that makes this program count calls.
pub(crate) const COUNT: &str = "--count";

/// A round of one client unless `--millis` says otherwise: long enough that a switch of processes hardly shows, short enough that a round
/// over all clients is over before the machine changes its mood. And with `--quick`.
const ROUND: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(80)];

/// Rounds unless `--rounds` says otherwise, and with `--quick`.
const ROUNDS: [usize; 2] = [9, 3];

impl Task {
    pub(crate) fn parse(options: Options) -> Result<Self, BenchError> {
        let rest: Vec<&str> = options.rest.iter().map(String::as_str).collect();
        match rest[..] {
            [SERVE, kind] => Ok(Self::Serve(kind.parse()?, None)),
            [SERVE, kind, certificates] => Ok(Self::Serve(kind.parse()?, Some(certificates.to_owned()))),
            [COUNT, subject, calls, concurrency] => {
                let cell = Cell::base(ServerKind::Light, number(concurrency)?);
                Ok(Self::Count(subject.parse()?, number(calls)?, cell))
            }
            [COUNT, subject, calls, "--cell", cell] => Ok(Self::Count(subject.parse()?, number(calls)?, cell.parse()?)),
            [COUNT, ..] => Err(refused(COUNT, "takes CLIENT CALLS CONCURRENCY, or CLIENT CALLS --cell CELL")),
            _ => Plan::parse(options).map(Self::Measure),
        }
    }
}

impl Plan {
    fn parse(options: Options) -> Result<Self, BenchError> {
        let quick = usize::from(options.quick);
        let (mut cells, mut parts, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
        let (mut round, mut instructions) = (ROUND[quick], !options.quick);
        let mut rest = options.rest.iter();
        while let Some(flag) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| refused(flag, "needs a value"));
            match flag.as_str() {
                "--cell" => cells.push(value()?.parse()?),
                "--only" => parts.extend(value()?.split(',')),
                "--subjects" => {
                    let named = value()?.split(',').map(str::parse::<Subject>);
                    subjects.extend(named.collect::<Result<Vec<_>, _>>()?);
                }
                "--millis" => round = Duration::from_millis(number(value()?)? as u64),
                "--no-instructions" => instructions = false,
                _ => return Err(refused(flag, "is not known; see the head of benches/e2e/main.rs")),
            }
        }
        if cells.is_empty() {
            cells = if options.quick { Cell::few() } else { Cell::usual() };
            cells.retain(|cell| parts.iter().all(|part| cell.has(part)));
        } else if let Some(part) = parts.first() {
            return Err(refused(part, "--only picks from the usual cells, --cell names others; not both"));
        }
        if cells.is_empty() {
            return Err(refused(&parts.join(","), "no cell has all of these parts, such as light,split,unary,100B,4ep,plain,c16"));
        }
        if !subjects.is_empty() && !subjects.contains(&Subject::BalanceList) {
            subjects.insert(0, Subject::BalanceList);
        }
        let rounds = options.rounds(ROUNDS[0], ROUNDS[1]);
        Ok(Self { cells, subjects, rounds, round, instructions, options })
    }

    /// The clients to compare in a cell, the base first: those that belong there, or those that were asked for and can be had there.
    pub(crate) fn subjects(&self, cell: &Cell) -> Vec<Subject> {
        let wanted = |subject: &Subject| match self.subjects.is_empty() {
            true => subject.belongs(cell),
            false => self.subjects.contains(subject) && subject.possible(cell),
        };
        Subject::ALL.into_iter().filter(wanted).collect()
    }
}

fn number(text: &str) -> Result<usize, BenchError> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| refused(text, "must be a number of at least 1"))
}

fn refused(argument: &str, reason: &str) -> BenchError {
    BenchError::Argument { argument: argument.to_owned(), reason: reason.to_owned() }
}
