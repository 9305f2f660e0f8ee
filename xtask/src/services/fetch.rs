//! Getting a server: unpacked aside, tried, and renamed into place as the last act, so that half a fetch is never used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Service, apt, knot_files, python};
use crate::error::{Context as _, Result};
use crate::{location, shell};

/// Makes sure the server is here and starts; fetches it if it is not.
///
/// Two of these at once are serialised by a lock on a file, which the system releases even if its holder is killed.
pub(super) fn ensure(service: &Service) -> Result<()> {
    if works(service, &location::place(service.name)) {
        return Ok(());
    }
    let services = location::services();
    fs::create_dir_all(&services).context(services.display())?;
    let lock = File::create(services.join(format!("{}.lock", service.name))).context("the lock file")?;
    lock.lock().context("the lock file")?;
    if works(service, &location::place(service.name)) {
        return Ok(());
    }
    clear(&services, service.name);
    let result = fetch(service, &services.join(format!("{}{}", partial(service.name), std::process::id())));
    clear(&services, service.name);
    result
}

/// What a fetch's own directory is called, but for the process id at its end. Each has its own: an `apt-get` may outlive a killed fetch.
fn partial(name: &str) -> String {
    format!("{name}.partial-")
}

/// Removes what fetches left that were killed; whoever holds the lock is the only one at work. What cannot be removed is in nobody's way.
fn clear(services: &Path, name: &str) {
    for entry in fs::read_dir(services).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&partial(name)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn fetch(service: &Service, work: &Path) -> Result<()> {
    let root = work.join("root");
    fs::create_dir_all(&root).context(root.display())?;
    let root = match service.python {
        [] => unpack(service, root, work)?,
        packages => {
            python::install(packages, &root)?;
            root
        }
    };
    shell::output(&mut probe(service, &root)).context("it was fetched but does not start")?;
    let place = location::place(service.name);
    // Only a broken one can be in the way: a working one ended the fetch before it began.
    remove(&place)?;
    fs::rename(&root, &place).context(place.display())
}

/// Fetches Debian's packages, unpacks them into `root`, and builds what is to be built; where the result lies.
fn unpack(service: &Service, root: PathBuf, work: &Path) -> Result<PathBuf> {
    let archives = apt::download(service, &work.join("apt"))?;
    for archive in archives.iter().filter(|archive| unpacks(service, archive)) {
        shell::output(Command::new("dpkg").arg("--extract").arg(archive).arg(&root))?;
    }
    match service.build {
        Some(build) => (build.run)(&root, work, &archives),
        None => Ok(root),
    }
}

fn unpacks(service: &Service, archive: &Path) -> bool {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    service.build.is_none_or(|build| name.starts_with(build.unpacks))
}

fn works(service: &Service, root: &Path) -> bool {
    root.is_dir() && shell::works(&mut probe(service, root))
}

fn probe(service: &Service, root: &Path) -> Command {
    let mut command = Command::new(root.join(service.probe[0]));
    command.args(&service.probe[1..]).env("LD_LIBRARY_PATH", knot_files::libraries(root));
    command
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(path.display()),
        _ => Ok(()),
    }
}
