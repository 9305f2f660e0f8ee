//! A private apt: the machine's mirror and keys, but its own lists, cache and idea of what is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Result};
use crate::shell;

/// Debian's keys, where every Debian system has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What dpkg says is installed; copied, so that only what this machine lacks is fetched.
const STATUS: &str = "/var/lib/dpkg/status";

/// Which packages, and of their dependencies how many.
pub(crate) struct Order<'a> {
    /// `None`: from the release this machine runs. A name: from that release.
    pub(crate) release: Option<&'a str>,
    pub(crate) packages: &'a [&'a str],
    /// With everything they depend on, as for a machine on which nothing is installed. Otherwise those of this machine's release come with the
    /// dependencies that it lacks, and those of another alone, because dependencies might bring that release's C library along.
    pub(crate) whole: bool,
}

/// Downloads packages into `dir` and returns the archives.
///
/// Works for any user. Fails where there is no apt, no dpkg or no Debian mirror, and says which.
pub(crate) fn download(order: &Order<'_>, dir: &Path) -> Result<Vec<PathBuf>> {
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
    let release = order.release.unwrap_or(&mirror.release);
    write_config(dir, &mirror.uri, release)?;
    if order.whole {
        fs::write(dir.join("status"), "").context(dir.display())?;
    }
    shell::run(apt(dir).args(["-qq", "update"]))?;
    match order.release.filter(|_| !order.whole) {
        None => {
            apt(dir).args(["-qq", "--yes", "--download-only", "--no-install-recommends", "install"]).args(order.packages).run()?
        }
        Some(_) => apt(dir).current_dir(&archives).args(["-qq", "download"]).args(order.packages).run()?,
    }
    archives_in(&archives)
}

/// Unpacks into `root` those archives whose names begin with one of `prefixes`.
pub(crate) fn unpack(archives: &[PathBuf], prefixes: &[&str], root: &Path) -> Result<()> {
    fs::create_dir_all(root).context(root.display())?;
    let wanted = archives.iter().filter(|archive| {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    for archive in wanted {
        shell::output(Command::new("dpkg").arg("--extract").arg(archive).arg(root))?;
    }
    Ok(())
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

/// The first archive of packages proper (not security, not updates) that this machine is set up with, however that is written down
/// and whether or not it was ever asked: what an update would fetch.
fn mirror() -> Result<Mirror> {
    let would_fetch = shell::output(Command::new("apt-get").args(["--print-uris", "update"]))?;
    first_mirror(&would_fetch).ok_or_else(|| Error::new("this machine is not set up with a Debian mirror"))
}

/// Among lines like `'http://mirror/debian/dists/bookworm/InRelease' file 0`.
fn first_mirror(would_fetch: &str) -> Option<Mirror> {
    would_fetch.lines().find_map(|line| {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("/dists/")?;
        let (release, _) = rest.split_once("/InRelease'")?;
        let proper = uri.ends_with("/debian") && !release.contains(['-', '/']);
        proper.then(|| Mirror { uri: uri.to_owned(), release: release.to_owned() })
    })
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
        let line = |path: &str| format!("'http://m.invalid/{path}' some_file 0 \n");
        let lines = [
            "debian-security/dists/bookworm-security",
            "debian/dists/bookworm-updates",
            "debian/dists/bookworm",
            "debian/dists/sid",
        ];
        let mirror = first_mirror(&lines.map(|path| line(&format!("{path}/InRelease"))).concat()).unwrap();
        assert_eq!((mirror.uri.as_str(), mirror.release.as_str()), ("http://m.invalid/debian", "bookworm"));
        assert!(first_mirror(&line("other/dists/noble/InRelease")).is_none());
        assert!(first_mirror(&line("debian/dists/bookworm/main/binary-amd64/Packages.xz")).is_none());
        assert!(first_mirror("").is_none());
    }
}
