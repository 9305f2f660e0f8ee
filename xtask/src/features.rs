//! Each published package by itself: with no feature, and with each of its features alone.
//!
//! In the workspace's own build every package sees the features that all the others ask of shared dependencies; a user's does not.

use crate::error::Result;
use crate::report::Report;
use crate::{shell, workspace};

/// One step per package.
pub(crate) fn each_alone(report: &mut Report) {
    let packages = match workspace::packages() {
        Ok(packages) => packages,
        Err(error) => return report.check("features alone", || Err(error)),
    };
    for package in packages.iter().filter(|package| package.published) {
        report.check(format!("features alone: {}", package.name), || {
            check(&package.name, None)?;
            package.features.iter().try_for_each(|feature| check(&package.name, Some(feature)))
        });
    }
}

/// The library alone: its binaries and tests may need what a feature brings. By clippy and not by `RUSTFLAGS`, so that what was
/// checked of the dependencies before is used again.
fn check(package: &str, feature: Option<&str>) -> Result<()> {
    let mut command = shell::cargo();
    command.args(["clippy", "--quiet", "--package", package, "--no-default-features", "--lib"]);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    shell::run(command.args(["--", "-D", "warnings"]))
}
