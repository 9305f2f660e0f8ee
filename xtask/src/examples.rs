//! Every example is run, not only compiled: an example that no longer ends well is a lie in the documentation.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Context as _, Result};
use crate::report::{Outcome, Report};
use crate::workspace::{list, text};
use crate::{shell, workspace};

/// The longest, `quickstart`, promises to end within 20 s; a busy machine gets six times that.
const LIMIT: Duration = Duration::from_secs(120);

/// Tells an example that otherwise runs until somebody ends it after how many seconds to end.
const SECONDS: &str = "EVENKEEL_EXAMPLE_SECONDS";

/// The same with a build before it, from nothing and on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// One step per example, built with the features the tests use.
pub(crate) fn run_all(report: &mut Report) {
    let mut built = Vec::new();
    report.check("examples build", || {
        built = build()?;
        Ok(())
    });
    for (name, program) in built {
        report.check(format!("example {name}"), || {
            let mut command = Command::new(program);
            command.current_dir(workspace::root()).stdin(std::process::Stdio::null()).env(SECONDS, "1");
            shell::run_within(&mut command, LIMIT)
        });
    }
}

/// The README's second command, word for word.
pub(crate) fn quickstart(report: &mut Report) {
    report.step("README: cargo run --example quickstart", || {
        let packages = workspace::packages()?;
        let mut targets = packages.iter().flat_map(|package| &package.targets);
        if !targets.any(|target| target.kind == "example" && target.name == "quickstart") {
            return Ok(Outcome::Skipped("there is no such example".into()));
        }
        shell::run_within(shell::cargo().args(["run", "--example", "quickstart"]), BUILD_LIMIT).map(|()| Outcome::Passed)
    });
}

/// Built in one go for the whole workspace, as `test` does: building them one by one would resolve other features and build
/// the dependencies again.
fn build() -> Result<Vec<(String, PathBuf)>> {
    let features = workspace::test_features(&workspace::packages()?);
    let mut command = shell::cargo();
    command.args(["build", "--workspace", "--examples", "--features", &features, "--message-format", "json-render-diagnostics"]);
    let messages = shell::capture(&mut command)?;
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo build's messages are not JSON")?;
        found.extend(example(&message));
    }
    found.sort();
    Ok(found)
}

/// The name and program of an example, if that is what the message announces.
fn example(message: &Value) -> Option<(String, PathBuf)> {
    let target = &message["target"];
    let program = message["executable"].as_str()?;
    let is_example = list(&target["kind"]).iter().any(|kind| kind == "example");
    is_example.then(|| (text(&target["name"]), PathBuf::from(program)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_examples_are_run() {
        let message = |kind: &str| json!({ "target": { "kind": [kind], "name": "x" }, "executable": "/tmp/x" });
        assert_eq!(example(&message("example")), Some(("x".into(), "/tmp/x".into())));
        assert_eq!(example(&message("bin")), None);
        assert_eq!(example(&json!({ "reason": "build-finished" })), None);
    }
}
