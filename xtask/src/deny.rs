//! cargo-deny: licences, sources, duplicate and banned packages, and known vulnerabilities where their list can be had.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::Result;
use crate::report::{Outcome, Report};
use crate::{in_ci, location, shell, workspace};

/// Pinned, because a newer one may know new lints and turn an unchanged tree red.
const VERSION: &str = "0.20.2";

/// The list of vulnerabilities comes over the network; a machine that cannot reach it should say so soon.
const FETCH_WITHIN: Duration = Duration::from_secs(60);

/// Two steps: what needs only the lock file, and what needs the list of vulnerabilities.
pub(crate) fn check(report: &mut Report) {
    report.step("cargo-deny: bans, licences, sources", || {
        with_program(|program| shell::run(deny(program).args(["check", "bans", "licenses", "sources"])).map(|()| Outcome::Passed))
    });
    report.step("cargo-deny: advisories", || {
        with_program(|program| {
            if let Err(error) = shell::run_within(deny(program).args(["fetch", "db"]), FETCH_WITHIN) {
                return Ok(Outcome::Skipped(format!("the advisory database cannot be fetched here: {error}")));
            }
            shell::run(deny(program).args(["check", "advisories"])).map(|()| Outcome::Passed)
        })
    });
}

/// Where cargo-deny cannot be had, CI fails and everybody else reads so.
fn with_program(check: impl FnOnce(&Path) -> Result<Outcome>) -> Result<Outcome> {
    match program_or_install() {
        Ok(program) => check(&program),
        Err(error) if in_ci() => Err(error),
        Err(error) => Ok(Outcome::Skipped(error.to_string())),
    }
}

fn deny(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).stdin(std::process::Stdio::null());
    command.args(["--log-level=error", "--all-features"]);
    command
}

/// The pinned version from this user's cache, built there on first use: unoptimized, because it runs for a second and builds for minutes.
fn program_or_install() -> Result<PathBuf> {
    let root = location::cache().join("tools").join(format!("cargo-deny-{VERSION}"));
    let program = root.join("bin/cargo-deny");
    if !shell::works(Command::new(&program).arg("--version")) {
        let mut install = shell::cargo();
        install.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--force", "--root"]).arg(&root);
        shell::run(install.env("CARGO_PROFILE_DEV_DEBUG", "false").env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(program)
}
