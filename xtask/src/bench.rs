//! `cargo xtask bench`: the benchmarks by name, with the features that those of their package ask for.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::report::{Outcome, Report};
use crate::workspace::Package;
use crate::{guard, peers, shell, workspace};

/// The suites that compare with peers or keep a promise: `all` runs these. Each is a bench target of that name; benchmarks beside them run by name too.
const SUITES: [&str; 6] = ["pick", "choose", "update", "e2e", "tail", "footprint"];

/// Built already, and run quickly: this is a guard against one that never ends, not a measure.
const QUICK_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Runs every suite, one after the other: side by side they would measure each other.
pub(crate) fn all(report: &mut Report, args: &[String]) {
    with_peers(report, &SUITES, args);
    match benches() {
        Ok(benches) => SUITES.into_iter().for_each(|suite| match benches.iter().find(|bench| bench.name == suite) {
            Some(bench) => report.check(format!("bench {suite}"), || bench.run(args)),
            None => report.skip(format!("bench {suite}"), "there is no such benchmark yet"),
        }),
        Err(error) => report.check("benches", || Err(error)),
    }
}

/// Runs the benchmark called `name`; `args` go to it (`--quick`, a filter).
pub(crate) fn named(report: &mut Report, name: &str, args: &[String]) {
    with_peers(report, &[name], args);
    report.check(format!("bench {name}"), || match benches()?.iter().find(|bench| bench.name == name) {
        Some(bench) => bench.run(args),
        None => Err(Error::new(format!("no benchmark is called `{name}`; there are: all, {}", names()?))),
    });
}

/// Builds what the suites compare with; `--quick` makes do with what is here.
fn with_peers(report: &mut Report, suites: &[&str], args: &[String]) {
    if !args.iter().any(|arg| arg == "--quick") {
        peers::of_suites(report, suites);
    }
}

/// For CI: they all compile, the cheapest one gives numbers, and the guards.
pub(crate) fn quick(report: &mut Report) {
    smoke(report);
    guard::all(report);
}

/// They all compile, and the cheapest one gives numbers.
///
/// Named one by one: `--benches` would also build every library's unit tests, optimized.
fn smoke(report: &mut Report) {
    report.step("benches compile", || {
        let benches = benches()?;
        if benches.is_empty() {
            return Ok(Outcome::Skipped("there are none".into()));
        }
        let names = benches.iter().flat_map(|bench| ["--bench", &bench.name]);
        shell::run(in_workspace()?.arg("--no-run").args(names)).map(|()| Outcome::Passed)
    });
    report.step("bench pick, quickly", || {
        if !benches()?.iter().any(|bench| bench.name == "pick") {
            return Ok(Outcome::Skipped("there is no such benchmark".into()));
        }
        shell::run_within(in_workspace()?.args(["--bench", "pick", "--", "--quick"]), QUICK_LIMIT).map(|()| Outcome::Passed)
    });
}

/// `cargo bench` over the whole workspace, so that both steps of CI resolve the same features and build once.
fn in_workspace() -> Result<Command> {
    let mut command = shell::cargo();
    command.args(["bench", "--workspace", "--features", &workspace::test_features(&workspace::packages()?)]);
    Ok(command)
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
        shell::run(command.args(args).envs(peers::variables()))
    }
}

fn benches() -> Result<Vec<Bench>> {
    let packages = workspace::packages()?;
    Ok(packages.iter().flat_map(of_package).collect())
}

/// All of a package are built with what any of them asks for, so that suites share one build. Not with every feature that tests have: those
/// bring crates that turn on features of others, which calls pay for (docs/BENCHMARKS.md, "What features cost").
fn of_package(package: &Package) -> Vec<Bench> {
    let benches = || package.targets.iter().filter(|target| target.kind == "bench");
    let features: BTreeSet<&str> = benches().flat_map(|target| &target.required_features).map(String::as_str).collect();
    let features = features.into_iter().collect::<Vec<_>>().join(",");
    benches().map(|target| Bench { name: target.name.clone(), package: package.name.clone(), features: features.clone() }).collect()
}

fn names() -> Result<String> {
    Ok(benches()?.into_iter().map(|bench| bench.name).collect::<Vec<_>>().join(", "))
}
