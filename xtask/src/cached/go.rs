//! Go as Debian packages it, with its libraries, for programs of this repository that need some: unpacked, used and thrown away.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Result};

/// Go as packaged, told to take every library from its packages and to write nowhere but in the fetch's own directory.
pub(crate) struct Toolchain {
    root: PathBuf,
    packaged: PathBuf,
    work: PathBuf,
}

impl Toolchain {
    /// From what was unpacked into `unpacked`, with `work` for everything in between; sources lie in `work/go/src`.
    pub(crate) fn new(unpacked: &Path, work: &Path) -> Result<Self> {
        for dir in ["tmp", "cache", "config"] {
            fs::create_dir_all(work.join(dir)).context(work.join(dir).display())?;
        }
        fs::write(work.join("empty"), "").context(work.display())?;
        let root = go_root(&unpacked.join("usr/lib"))?;
        Ok(Self { root, packaged: unpacked.join("usr/share/gocode"), work: work.to_owned() })
    }

    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let found = if program.is_absolute() { program.to_owned() } else { self.root.join("bin").join(program) };
        let joined =
            |parts: [&Path; 2]| -> OsString { [parts[0].as_os_str(), ":".as_ref(), parts[1].as_os_str()].into_iter().collect() };
        let mut command = Command::new(found);
        command.stdin(Stdio::null()).current_dir(&self.work).env_remove("GOFLAGS").env("GOROOT", &self.root);
        command.env("GOPATH", joined([&self.work.join("go"), &self.packaged])).env("GOCACHE", self.work.join("cache"));
        command.env("GOTMPDIR", self.work.join("tmp")).env("XDG_CONFIG_HOME", self.work.join("config"));
        command.envs([("GO111MODULE", "off"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", joined([&self.root.join("bin"), Path::new(&path)]));
        command
    }
}

/// `…/usr/lib/go-1.27`: the number changes with the release.
fn go_root(lib: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(lib).context(lib.display())?.flatten();
    let go = entries.find(|entry| entry.file_name().to_string_lossy().starts_with("go-1."));
    go.map(|entry| entry.path()).ok_or_else(|| Error::new(format!("no Go toolchain was unpacked into {}", lib.display())))
}

/// Copies the files of a directory.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).context(to.display())?;
    for entry in fs::read_dir(from).context(from.display())?.flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).context(entry.path().display())?;
    }
    Ok(())
}
