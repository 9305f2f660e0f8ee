//! `cargo xtask test`: everything a test needs, then every test.

use std::path::Path;
use std::process::Command;

use crate::error::{Context as _, Error, Result};
use crate::report::{Outcome, Report};
use crate::{faults, peers, services, shell, workspace};

/// Set for the tests: the file in which `lb_testkit::services` notes what it skipped.
const SKIPPED_FILE: &str = "EVENKEEL_SKIPPED";

/// Fetches the real servers, then runs unit, integration and doc tests and compiles the examples; `filter` narrows the tests.
pub(crate) fn all(report: &mut Report, filter: &[String]) {
    services::fetch_all(report);
    with_features(report, |report, features| {
        run_tests(report, "tests", &Run { features, targets: &[], filter });
        report.check("doc tests", || {
            let mut command = shell::cargo();
            command.args(["test", "--doc", "--workspace", "--features", features, "--"]).args(filter);
            shell::run(&mut command)
        });
        report.check("examples compile", || {
            shell::run(shell::cargo().args(["build", "--workspace", "--examples", "--features", features]))
        });
    });
}

/// Runs the integration tests whose file name begins with `prefix`, in whichever package they are.
pub(crate) fn named(report: &mut Report, prefix: &str, filter: &[String]) {
    services::fetch_all(report);
    with_features(report, |report, features| {
        let targets = match test_targets(prefix) {
            Ok(targets) => targets,
            Err(error) => return report.check(prefix, || Err(error)),
        };
        run_tests(report, &format!("{prefix} tests"), &Run { features, targets: &targets, filter });
    });
}

fn with_features(report: &mut Report, action: impl FnOnce(&mut Report, &str)) {
    match workspace::packages() {
        Ok(packages) => action(report, &workspace::test_features(&packages)),
        Err(error) => report.check("read the workspace", || Err(error)),
    }
}

fn test_targets(prefix: &str) -> Result<Vec<String>> {
    let packages = workspace::packages()?;
    let targets = packages.into_iter().flat_map(|package| package.targets);
    let names: Vec<_> =
        targets.filter(|target| target.kind == "test" && target.name.starts_with(prefix)).map(|target| target.name).collect();
    if names.is_empty() { Err(Error::new(format!("no integration test's file name begins with `{prefix}`"))) } else { Ok(names) }
}

/// Which tests to run, built with which features; no targets means all of them.
struct Run<'a> {
    features: &'a str,
    targets: &'a [String],
    filter: &'a [String],
}

fn run_tests(report: &mut Report, name: &str, run: &Run<'_>) {
    let mut skipped = Vec::new();
    report.step(name, || {
        faults::forget()?;
        let notes = workspace::scratch()?.join(format!("skipped-{}", std::process::id()));
        let result = shell::run(runner(run).env(SKIPPED_FILE, &notes).envs(peers::variables()));
        skipped = take_lines(&notes)?;
        result.map(|()| Outcome::Passed)
    });
    for line in skipped {
        report.skip(format!("test {line}"), "what it needs is not here");
    }
    faults::tables(report);
}

/// nextest where it is installed (a process for each test, and a limit on its time), plain `cargo test` where it is not.
fn runner(run: &Run<'_>) -> Command {
    let nextest = shell::works(shell::cargo().args(["nextest", "--version"]));
    let mut command = shell::cargo();
    command.args(if nextest { &["nextest", "run"][..] } else { &["test"][..] });
    command.args(["--workspace", "--no-fail-fast", "--features", run.features]);
    if nextest {
        // Lines only for what needs a look, and the ignored tests by name at the end.
        command.args(["--status-level", "slow", "--final-status-level", "skip"]);
    }
    if run.targets.is_empty() {
        // Said by name because `cargo test` would otherwise run doc tests too, which are a step of their own.
        command.args(["--lib", "--bins", "--tests", "--examples"]);
    }
    for target in run.targets {
        command.args(["--test", target]);
    }
    command.arg("--").args(run.filter);
    command
}

/// The lines of a file that exists only if a test wrote it; the file is removed.
fn take_lines(path: &Path) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).context(path.display())?;
    std::fs::remove_file(path).context(path.display())?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_once() {
        let path = std::env::temp_dir().join(format!("xtask-notes-{}", std::process::id()));
        std::fs::write(&path, "one needs knot\ntwo needs knot\n").unwrap();
        assert_eq!(take_lines(&path).unwrap(), ["one needs knot", "two needs knot"]);
        assert!(take_lines(&path).unwrap().is_empty());
    }

    #[test]
    fn a_prefix_without_tests_is_an_error_not_a_success() {
        let error = test_targets("no-such-prefix").unwrap_err();
        assert!(error.to_string().contains("no-such-prefix"));
    }
}
