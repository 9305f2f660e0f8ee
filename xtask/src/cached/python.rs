//! Packages of Python, put where only those who ask for them find them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::{Context as _, Error, Result};
use crate::shell;

/// The machine's own Python, with the packages that lie beside this file before its own. Works wherever the directory is moved to.
const PYTHON: &str = "#!/bin/sh\nPYTHONPATH=\"$(dirname \"$0\")/packages\" PYTHONDONTWRITEBYTECODE=1 exec python3 -s \"$@\"\n";

/// Installs packages below `root`, and a program `python` that knows them. Fails where there is no Python with pip, and says so.
///
/// They come from wherever pip is set up to look, ready built: nothing is compiled, and no package's code runs to be installed.
pub(crate) fn install(packages: &[&str], root: &Path) -> Result<()> {
    if !shell::works(Command::new("python3").args(["-m", "pip", "--version"])) {
        return Err(Error::new("this machine has no Python with pip"));
    }
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--only-binary",
        ":all:",
        "--target",
    ]);
    shell::run(pip.arg(root.join("packages")).args(packages))?;
    let python = root.join("python");
    fs::write(&python, PYTHON).context(python.display())?;
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).context(python.display())
}
