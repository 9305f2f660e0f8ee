//! `cargo xtask bench`: the benchmarks by name, each with the features it asks for.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::report::{Outcome, Report};
use crate::{shell, workspace};

/// Built already, and run quickly: this is a guard against one that never ends, not a measure.
const QUICK_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Runs every benchmark of the workspace, one after the other: side by side they would measure each other.
pub(crate) fn all(report: &mut Report, args: &[String]) {
    match benches() {
        Ok(benches) if benches.is_empty() => report.skip("benches", "there are none"),
        Ok(benches) => benches.iter().for_each(|bench| report.check(format!("bench {}", bench.name), || bench.run(args))),
        Err(error) => report.check("benches", || Err(error)),
    }
}

/// Runs the benchmark called `name`; `args` go to it (`--quick`, a filter).
pub(crate) fn named(report: &mut Report, name: &str, args: &[String]) {
    report.check(format!("bench {name}"), || match benches()?.iter().find(|bench| bench.name == name) {
        Some(bench) => bench.run(args),
        None => Err(Error::new(format!("no benchmark is called `{name}`; there are: {}", names()?))),
    });
}

/// For CI: they all compile, and the cheapest one gives numbers.
pub(crate) fn smoke(report: &mut Report) {
    report.check("benches compile", || {
        let features = workspace::test_features(&workspace::packages()?);
        shell::run(shell::cargo().args(["bench", "--no-run", "--workspace", "--benches", "--features", &features]))
    });
    report.step("bench pick, quickly", || {
        let features = workspace::test_features(&workspace::packages()?);
        if !benches()?.iter().any(|bench| bench.name == "pick") {
            return Ok(Outcome::Skipped("there is no such benchmark".into()));
        }
        let args = ["bench", "--workspace", "--features", &features, "--bench", "pick", "--", "--quick"];
        shell::run_within(shell::cargo().args(args), QUICK_LIMIT).map(|()| Outcome::Passed)
    });
}

struct Bench {
    name: String,
    package: String,
    features: String,
}

impl Bench {
    fn run(&self, args: &[String]) -> Result<()> {
        let mut command = shell::cargo();
        command.args(["bench", "--package", &self.package, "--bench", &self.name, "--features", &self.features, "--"]);
        shell::run(command.args(args))
    }
}

fn benches() -> Result<Vec<Bench>> {
    let packages = workspace::packages()?;
    let targets = packages.iter().flat_map(|package| package.targets.iter().map(move |target| (package, target)));
    let benches = targets.filter(|(_, target)| target.kind == "bench").map(|(package, target)| Bench {
        name: target.name.clone(),
        package: package.name.clone(),
        features: target.required_features.join(","),
    });
    Ok(benches.collect())
}

fn names() -> Result<String> {
    Ok(benches()?.into_iter().map(|bench| bench.name).collect::<Vec<_>>().join(", "))
}
