//! A private apt: the machine's mirror and keys, but its own lists, cache and idea of what is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Service;
use crate::error::{Context as _, Error, Result};
use crate::shell;

/// Debian's keys, where every Debian system has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What dpkg says is installed; copied, so that only what this machine lacks is fetched.
const STATUS: &str = "/var/lib/dpkg/status";

/// Downloads the service's packages into `dir` and returns the archives.
///
/// Works for any user. Fails where there is no apt, no dpkg or no Debian mirror, and says which.
pub(super) fn download(service: &Service, dir: &Path) -> Result<Vec<PathBuf>> {
    for tool in ["apt-get", "dpkg"] {
        if !shell::works(Command::new(tool).arg("--version")) {
            return Err(Error::new(format!("this machine has no {tool}")));
        }
    }
    let mirror = mirror()?;
    let archives = dir.join("cache/archives");
    for part in [&dir.join("lists/partial"), &archives.join("partial")] {
        fs::create_dir_all(part).context(part.display())?;
    }
    let release = service.release.unwrap_or(&mirror.release);
    write_config(dir, &mirror.uri, release)?;
    shell::run(apt(dir).args(["-qq", "update"]))?;
    match service.release {
        None => {
            apt(dir).args(["-qq", "--yes", "--download-only", "--no-install-recommends", "install"]).args(service.packages).run()?
        }
        Some(_) => apt(dir).current_dir(&archives).args(["-qq", "download"]).args(service.packages).run()?,
    }
    archives_in(&archives)
}

trait Run {
    fn run(&mut self) -> Result<()>;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        shell::run(self)
    }
}

struct Mirror {
    uri: String,
    /// The release this machine runs, as in `bookworm`.
    release: String,
}

/// The first archive of packages proper (not security, not updates) that this machine is set up with, however that is written down.
fn mirror() -> Result<Mirror> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]);
    let targets = shell::output(&mut command)?;
    first_mirror(&targets).ok_or_else(|| Error::new("this machine is not set up with a Debian mirror"))
}

fn first_mirror(targets: &str) -> Option<Mirror> {
    targets
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(uri, _)| uri.trim_end_matches('/').ends_with("/debian"))
        .map(|(uri, release)| Mirror { uri: uri.to_owned(), release: release.to_owned() })
}

/// The configuration is read after the system's own (`--config-file`), so that proxies set there stay and its hooks can be cleared:
/// some images delete downloaded archives after every run.
fn write_config(dir: &Path, uri: &str, release: &str) -> Result<()> {
    let signed = if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
    let write = |name: &str, text: String| fs::write(dir.join(name), text).context(dir.join(name).display());
    write("sources.list", format!("deb {signed}{uri} {release} main\n"))?;
    fs::copy(STATUS, dir.join("status")).context(STATUS)?;
    let dir = dir.display();
    write(
        "apt.conf",
        format!(
            r#"#clear DPkg::Post-Invoke;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
Dir::Log "{dir}";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Debug::NoLocking "true";
"#
        ),
    )
}

fn apt(dir: &Path) -> Command {
    let config = dir.join("apt.conf");
    let mut command = Command::new("apt-get");
    command.arg(format!("--config-file={}", config.display())).stdin(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn archives_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).context(dir.display())?;
    let mut found: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "deb")).collect();
    found.sort();
    if found.is_empty() { Err(Error::new("apt downloaded nothing: are the packages installed already?")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_first_archive_proper() {
        let targets = "http://m.invalid/debian-security/ bookworm-security\nhttp://m.invalid/debian/ bookworm\nhttp://m.invalid/debian/ bookworm-updates\n";
        let mirror = first_mirror(targets).unwrap();
        assert_eq!((mirror.uri.as_str(), mirror.release.as_str()), ("http://m.invalid/debian/", "bookworm"));
        assert!(first_mirror("http://m.invalid/other noble\n").is_none());
        assert!(first_mirror("").is_none());
    }
}
