//! What counting instructions takes: valgrind, and gungraun's runner in the very version of its library.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cached::Kept;
use crate::cached::apt::{self, Order};
use crate::error::{Context as _, Error, Result};
use crate::{location, shell, workspace};

const RUNNER: &str = "gungraun-runner";

/// Where its package puts it.
const VALGRIND: &str = "usr/bin/valgrind";

/// Where the tools are.
pub(super) struct Tools {
    /// The directory of the runner.
    programs: PathBuf,
    /// A valgrind that was fetched, below this directory; `None` is the machine's own.
    valgrind: Option<PathBuf>,
}

impl Tools {
    /// Tells a benchmark where they are.
    pub(super) fn describe_to(&self, bench: &mut Command) {
        // A path in `GUNGRAUN_RUNNER` would be compiled in.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [self.programs.clone()].into_iter().chain(std::env::split_paths(&path));
        bench.env("PATH", std::env::join_paths(paths).unwrap_or_else(|_| path.clone()));
        if let Some(root) = &self.valgrind {
            bench.env("GUNGRAUN_VALGRIND_BIN", root.join(VALGRIND));
            // It looks for its tools where its package would have put them; the runner clears the environment but for what it is told.
            bench.env("GUNGRAUN_ENVS", format!("VALGRIND_LIB={}", root.join("usr/libexec/valgrind").display()));
        }
    }
}

/// Finds them, or gets them into the user's cache directory.
pub(super) fn obtain() -> Result<Tools> {
    let here = shell::works(Command::new("valgrind").arg("--version"));
    let valgrind = if here { None } else { Some(fetched().context("valgrind cannot be had")?) };
    Ok(Tools { programs: runner()?, valgrind })
}

/// A valgrind from this machine's Debian mirror, with what it depends on, in this user's cache.
fn fetched() -> Result<PathBuf> {
    let home = location::cache().join("tools");
    let kept = Kept { place: home.join("valgrind"), home, name: "valgrind" };
    kept.ensure(
        |root| shell::works(Command::new(root.join(VALGRIND)).arg("--version")),
        |work| {
            let order = Order { release: None, packages: &["valgrind"], whole: false };
            let archives = apt::download(&order, &work.join("apt"))?;
            apt::unpack(&archives, &["valgrind_"], &work.join("root"))?;
            Ok(work.join("root"))
        },
    )?;
    Ok(kept.place)
}

/// The version of the compiler that benchmarks are compiled with.
pub(super) fn compiler() -> Result<String> {
    let said = shell::output(Command::new("rustc").arg("-vV").current_dir(workspace::root()))?;
    let release = said.lines().find_map(|line| line.strip_prefix("release: "));
    release.map(str::to_owned).ok_or_else(|| Error::new("`rustc -vV` names no release"))
}

/// The directory of the runner in this user's cache, built there on first use: unoptimized, because valgrind takes the time and building takes minutes.
fn runner() -> Result<PathBuf> {
    let lock = workspace::root().join("Cargo.lock");
    let version = locked_version(&std::fs::read_to_string(&lock).context(lock.display())?)?;
    let root = location::cache().join("tools").join(format!("{RUNNER}-{version}"));
    let programs = root.join("bin");
    if !works(&programs.join(RUNNER)) {
        let mut install = shell::cargo();
        install.args(["install", RUNNER, "--version", &version, "--locked", "--debug", "--force", "--root"]).arg(&root);
        shell::run(install.env("CARGO_PROFILE_DEV_DEBUG", "false").env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(programs)
}

fn works(program: &Path) -> bool {
    shell::works(Command::new(program).arg("--version"))
}

/// The library and its runner are released together, and the library depends on what it shares with the runner.
fn locked_version(lock: &str) -> Result<String> {
    let name = format!("name = \"{RUNNER}\"");
    let version = lock.lines().skip_while(|line| *line != name).nth(1).and_then(|line| line.strip_prefix("version = \""));
    let version = version.and_then(|rest| rest.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| Error::new(format!("Cargo.lock names no {RUNNER}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_has_the_locked_version() {
        let lock = "[[package]]\nname = \"gungraun\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"gungraun-runner\"\nversion = \"1.2.3\"\n";
        assert_eq!(locked_version(lock).unwrap(), "1.2.3");
        assert!(locked_version("[[package]]\nname = \"gungraun\"\n").is_err());
    }
}
