//! `cargo xtask fuzz`: every parser of foreign input, under libFuzzer.
//!
//! The targets are programs of `fuzz/`, a workspace of its own, because everything they use is built with coverage instrumentation. That
//! takes compiler options every toolchain has; a fuzzing front end would ask for an unstable one. Only libFuzzer itself is C++, so a
//! machine without a C++ compiler skips, and CI must have one.
//!
//! CI runs each target from the inputs of `fuzz/seeds`, for a fixed number of inputs from a fixed seed: what it finds in a change is in
//! that change, and the same every time. `cargo xtask fuzz` searches: what is built, and the inputs that were found to reach something
//! new, stay in the user's cache, and the next run begins where this one ended. A crash leaves its input there too, and prints where.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Context as _, Error, Result};
use crate::report::{Outcome, Report};
use crate::{in_ci, location, shell, workspace};

/// How many inputs CI gives each target: enough to find a fresh mistake with those of `fuzz/seeds`, too few for a deep one.
const BRIEFLY: u64 = 200_000;

/// How long a search takes that is not told, in seconds.
const SEARCH: u64 = 10;

/// The longest that either may take beyond its time, and CI in all.
const SPARE: Duration = Duration::from_secs(120);

/// Counters per edge, compared values traced, so that magic words are found; the options of libFuzzer's own documentation.
const INSTRUMENTATION: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Inputs beyond this length only repeat what shorter ones do.
const LONGEST: u64 = 8192;

/// How much is tried.
#[derive(Clone, Copy)]
enum Extent {
    /// The same inputs every time.
    Fixed,
    /// For so many seconds, from what earlier searches found.
    Search(u64),
}

/// Every target briefly.
pub(crate) fn briefly(report: &mut Report) {
    each(report, "", Extent::Fixed);
}

/// The targets whose name contains `word`, for the seconds `args` begins with.
pub(crate) fn named(report: &mut Report, word: &str, args: &[String]) {
    match args.first().map_or(Ok(SEARCH), |text| text.parse()) {
        Ok(seconds) => each(report, word, Extent::Search(seconds)),
        Err(_) => report.check("fuzz", || Err(Error::new(format!("`{}` is no number of seconds", args[0])))),
    }
}

fn each(report: &mut Report, word: &str, extent: Extent) {
    let targets = match targets() {
        Ok(targets) => targets,
        Err(error) => return report.check("fuzz", || Err(error)),
    };
    let mut built = None;
    report.step("fuzz targets build", || {
        if !shell::works(Command::new("c++").arg("--version")) {
            let missing = "there is no C++ compiler, which libFuzzer needs";
            return if in_ci() { Err(Error::new(missing)) } else { Ok(Outcome::Skipped(missing.into())) };
        }
        built = Some(build()?);
        Ok(Outcome::Passed)
    });
    let Some(built) = built else { return };
    for target in targets.iter().filter(|target| target.contains(word)) {
        report.check(format!("fuzz {target}"), || run(&built, target, extent));
    }
}

/// Their names, which are those of their files.
fn targets() -> Result<Vec<String>> {
    let directory = workspace::root().join("fuzz/targets");
    let files = std::fs::read_dir(&directory).context(directory.display())?;
    let mut names = Vec::new();
    for file in files {
        names.extend(file.context(directory.display())?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

/// Builds them all; the directory they are in.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let directory = location::cache().join("fuzz/target");
    let mut command = shell::cargo();
    // With a target named, the options leave out what runs during the build.
    command.current_dir(workspace::root().join("fuzz")).args(["build", "--release", "--bins", "--quiet", "--target", &host]);
    command.arg("--target-dir").arg(&directory).env("RUSTFLAGS", INSTRUMENTATION.join(" "));
    shell::run(&mut command)?;
    Ok(directory.join(host).join("release"))
}

fn host() -> Result<String> {
    let said = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Error::new("`rustc -vV` names no host"))
}

fn run(built: &Path, target: &str, extent: Extent) -> Result<()> {
    let found = location::cache().join("fuzz/corpus").join(target);
    let crashes = location::cache().join("fuzz/crashes");
    for directory in [&found, &crashes] {
        std::fs::create_dir_all(directory).context(directory.display())?;
    }
    let mut command = Command::new(built.join(target));
    command.args([format!("-max_len={LONGEST}"), "-timeout=10".into(), "-verbosity=0".into()]);
    command.arg(format!("-artifact_prefix={}/{target}-", crashes.display()));
    let limit = match extent {
        Extent::Fixed => {
            // What it finds goes to the first directory it is given, which must neither begin with anything nor be the seeds'.
            let empty = location::cache().join("fuzz/fixed").join(target);
            let _ = std::fs::remove_dir_all(&empty);
            std::fs::create_dir_all(&empty).context(empty.display())?;
            command.args([format!("-runs={BRIEFLY}"), "-seed=1".into()]).arg(empty);
            SPARE
        }
        Extent::Search(seconds) => {
            command.arg(format!("-max_total_time={seconds}")).arg(found);
            SPARE + Duration::from_secs(seconds)
        }
    };
    command.arg(workspace::root().join("fuzz/seeds").join(target));
    shell::run_within(&mut command, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_program_and_seeds() {
        let manifest = std::fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target} has no [[bin]]");
            let seeds = workspace::root().join("fuzz/seeds").join(&target);
            assert!(seeds.read_dir().is_ok_and(|mut seeds| seeds.next().is_some()), "{target} has no seeds");
        }
    }
}
