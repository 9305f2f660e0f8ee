//! What was done, how long it took, how it ended: one line when a step begins, one when it ends, and a table at the end.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::error::Result;

/// How a step that did not fail ended.
pub(crate) enum Outcome {
    Passed,
    /// Not done, and why that is all right.
    Skipped(String),
}

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Row {
    name: String,
    verdict: Verdict,
    took: Duration,
}

/// Collects the steps of one command. A failed step does not stop the ones after it: one run shows everything that is wrong.
pub(crate) struct Report {
    rows: Vec<Row>,
    started: Instant,
    /// Only steps whose name contains this are done.
    only: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::only("")
    }

    /// A report that does only the steps whose name contains `word`, for repeating one that failed.
    pub(crate) fn only(word: &str) -> Self {
        Self { rows: Vec::new(), started: Instant::now(), only: word.to_owned() }
    }

    /// Does one step and notes how it went.
    pub(crate) fn step(&mut self, name: impl Into<String>, action: impl FnOnce() -> Result<Outcome>) {
        let name = name.into();
        if !name.contains(&self.only) {
            return;
        }
        println!("\n==> {name}");
        let started = Instant::now();
        let verdict = match action() {
            Ok(Outcome::Passed) => Verdict::Passed,
            Ok(Outcome::Skipped(why)) => Verdict::Skipped(why),
            Err(error) => Verdict::Failed(error.to_string()),
        };
        self.note(Row { name, verdict, took: started.elapsed() });
    }

    /// A step that either passes or fails.
    pub(crate) fn check(&mut self, name: impl Into<String>, action: impl FnOnce() -> Result<()>) {
        self.step(name, || action().map(|()| Outcome::Passed));
    }

    /// Notes something that was not done.
    pub(crate) fn skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.note(Row { name: name.into(), verdict: Verdict::Skipped(why.into()), took: Duration::ZERO });
    }

    fn note(&mut self, row: Row) {
        println!("<== {}", row.line());
        self.rows.push(row);
    }

    /// Prints the table and the counts, and says whether all went well; to have done nothing is to have failed.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n{}", self.table());
        let failed = self.rows.is_empty() || self.rows.iter().any(|row| matches!(row.verdict, Verdict::Failed(_)));
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// The last line has the plain form `N passed, N failed, N skipped` that log readers know; it counts steps.
    fn table(&self) -> String {
        let mut text = format!("steps, in {}:\n", seconds(self.started.elapsed()));
        for row in &self.rows {
            let _ = writeln!(text, "  {}", row.line());
        }
        let count = |wanted: fn(&Verdict) -> bool| self.rows.iter().filter(|row| wanted(&row.verdict)).count();
        let passed = count(|verdict| matches!(verdict, Verdict::Passed));
        let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
        let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
        let _ = write!(text, "{passed} passed, {failed} failed, {skipped} skipped");
        text
    }
}

impl Row {
    fn line(&self) -> String {
        let (word, why) = match &self.verdict {
            Verdict::Passed => ("ok", String::new()),
            Verdict::Failed(why) => ("FAILED", format!(": {why}")),
            Verdict::Skipped(why) => ("SKIPPED", format!(": {why}")),
        };
        format!("{word:<7} {:>8}  {}{why}", seconds(self.took), self.name)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn one_failure_fails_the_command_and_the_later_steps_still_run() {
        let mut report = Report::new();
        report.check("first", || Err(Error::new("broken")));
        report.check("second", || Ok(()));
        report.skip("third", "no such thing here");
        let table = report.table();
        assert!(table.contains("FAILED") && table.contains("first: broken"), "{table}");
        assert_eq!(table.lines().last(), Some("1 passed, 1 failed, 1 skipped"));
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn one_step_can_be_repeated_and_a_name_that_no_step_has_is_a_failure() {
        let mut report = Report::only("sec");
        report.check("first", || Err(Error::new("not to be done")));
        report.check("second", || Ok(()));
        assert_eq!(report.finish(), ExitCode::SUCCESS);
        let mut report = Report::only("third");
        report.check("first", || Ok(()));
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn a_skipped_step_fails_nothing() {
        let mut report = Report::new();
        report.step("only", || Ok(Outcome::Skipped("why".into())));
        assert!(report.table().contains("SKIPPED"));
        assert_eq!(report.finish(), ExitCode::SUCCESS);
    }
}
