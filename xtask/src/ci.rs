//! `cargo xtask ci`: what a change must pass. It begins with the README's test command, the same function and not a copy of it.
//!
//! Ordered so that builds are shared: tests, documentation and examples use one feature set and profile; the feature checks need only
//! metadata; fuzz targets and benchmarks, which need builds of their own, come last.

use crate::error::Result;
use crate::report::Report;
use crate::{bench, deny, examples, features, fuzz, msrv, shell, test};

/// All steps; a failed one does not stop those after it.
pub(crate) fn all(report: &mut Report) {
    test::all(report, &[]);
    report.check("the lock file fits the manifests", || {
        shell::output(shell::cargo().args(["metadata", "--locked", "--format-version", "1"])).map(drop)
    });
    report.check("format", || shell::run(shell::cargo().args(["fmt", "--all", "--check"])));
    report.check("clippy, default features", || clippy(&[]));
    report.check("clippy, all features", || clippy(&["--all-features"]));
    report.check("documentation", || {
        let mut command = shell::cargo();
        command.args(["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
        shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    report.check("the promised compiler is enough for every dependency", msrv::check);
    features::each_alone(report);
    deny::check(report);
    examples::run_all(report);
    examples::quickstart(report);
    fuzz::briefly(report);
    bench::quick(report);
}

fn clippy(features: &[&str]) -> Result<()> {
    let mut command = shell::cargo();
    command.args(["clippy", "--quiet", "--workspace", "--all-targets"]).args(features).args(["--", "-D", "warnings"]);
    shell::run(&mut command)
}
