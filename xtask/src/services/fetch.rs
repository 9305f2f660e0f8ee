//! Getting a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Service, knot_files};
use crate::cached::{Kept, apt, python};
use crate::error::{Context as _, Result};
use crate::{location, shell};

/// Makes sure the server is here and starts; fetches it if it is not.
pub(super) fn ensure(service: &Service) -> Result<()> {
    let kept = Kept { home: location::services(), name: service.name, place: location::place(service.name) };
    let works = |root: &Path| shell::works(&mut probe(service, root));
    kept.ensure(works, |work| {
        let root = fetch(service, work)?;
        shell::output(&mut probe(service, &root)).context("it was fetched but does not start")?;
        Ok(root)
    })
}

fn fetch(service: &Service, work: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    fs::create_dir_all(&root).context(root.display())?;
    match service.python {
        [] => unpack(service, root, work),
        packages => python::install(packages, &root).map(|()| root),
    }
}

/// Fetches Debian's packages, unpacks them into `root`, and builds what is to be built; where the result lies.
fn unpack(service: &Service, root: PathBuf, work: &Path) -> Result<PathBuf> {
    let order = apt::Order { release: service.release, packages: service.packages, whole: service.build.is_some() };
    let archives = apt::download(&order, &work.join("apt"))?;
    apt::unpack(&archives, &[service.build.map_or("", |build| build.unpacks)], &root)?;
    match service.build {
        Some(build) => (build.run)(&root, work, &archives),
        None => Ok(root),
    }
}

fn probe(service: &Service, root: &Path) -> Command {
    let mut command = Command::new(root.join(service.probe[0]));
    command.args(&service.probe[1..]).env("LD_LIBRARY_PATH", knot_files::libraries(root));
    command
}
