//! Instructions per call, which no neighbour disturbs: this program again, under `valgrind --tool=callgrind`.
//!
//! What starting and connecting cost is in every run, so a figure is the difference of a longer run and a shorter one. The kernel's
//! instructions are not counted.

use std::error::Error;
use std::process::{Command, Stdio};

use super::cell::{Cell, ServerKind};
use super::options::COUNT;
use super::subject::Subject;

/// Calls of the shorter run and of the longer one. The first few hundred still grow buffers and fill HPACK's tables.
const CALLS: [usize; 2] = [1_000, 3_000];

/// Calls at once.
const CONCURRENCY: usize = 128;

/// Who is counted, with how many endpoints.
const COUNTED: [(Subject, usize); 10] = [
    (Subject::Direct, 1),
    (Subject::RoundRobin, 1),
    (Subject::OneChannel, 1),
    (Subject::BalanceList, 4),
    (Subject::RoundRobin, 4),
    (Subject::Deadline, 4),
    (Subject::Guarded, 4),
    (Subject::Observed, 4),
    (Subject::Metrics, 4),
    (Subject::Everything, 4),
];

/// Instructions of one client per call.
pub(crate) struct Instructions {
    pub(crate) subject: Subject,
    pub(crate) endpoints: usize,
    pub(crate) per_call: f64,
}

/// Counts them all; `None` where there is no `valgrind`.
pub(crate) fn count() -> Result<Option<Vec<Instructions>>, Box<dyn Error>> {
    let known = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut counted = Vec::new();
    for (subject, endpoints) in COUNTED {
        eprintln!("instructions of {subject} with {endpoints} endpoints …");
        let cell = Cell { endpoints, ..Cell::base(ServerKind::Light, CONCURRENCY) };
        let [short, long] = [run(subject, &cell, CALLS[0])?, run(subject, &cell, CALLS[1])?];
        let per_call = (long - short) / (CALLS[1] - CALLS[0]) as f64;
        counted.push(Instructions { subject, endpoints, per_call });
    }
    Ok(Some(counted))
}

fn run(subject: Subject, cell: &Cell, calls: usize) -> Result<f64, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    command.args([COUNT, &subject.to_string(), &calls.to_string(), "--cell", &cell.to_string()]);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected {
        Some(collected) if output.status.success() => Ok(collected),
        _ => Err(format!("{command:?}: {}: {said}", output.status).into()),
    }
}
