//! Building the Kubernetes API server of `xtask/kubeapi` with the toolchain and the libraries that Debian packages.
//!
//! No registry has a ready API server, but Debian's unstable release has the library that the real one is made of. What is fetched
//! (about 350 MB) and unpacked (2.5 GB) lies in the fetch's own directory and goes with it; one program of about 60 MB is kept. Building
//! takes about four minutes on two cores, and happens once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cached::go::{self, Toolchain};
use crate::error::{Error, Result};
use crate::{shell, workspace};

/// The library whose version the server reports, as a cluster of that version would.
const LIBRARY: &str = "golang-k8s-apiserver-dev_";

/// The packages whose types appear in an answer. Their OpenAPI definitions are generated; the library does not start without.
const DEFINED: [&str; 7] = [
    "k8s.io/api/core/v1",
    "k8s.io/api/discovery/v1",
    "k8s.io/apimachinery/pkg/apis/meta/v1",
    "k8s.io/apimachinery/pkg/runtime",
    "k8s.io/apimachinery/pkg/version",
    "k8s.io/apimachinery/pkg/api/resource",
    "k8s.io/apimachinery/pkg/util/intstr",
];

/// Builds the server from what was unpacked into `unpacked`, with `work` for everything in between, and returns the directory in which the
/// program lies alone.
pub(super) fn build(unpacked: &Path, work: &Path, archives: &[PathBuf]) -> Result<PathBuf> {
    let version = version(archives)?;
    let sources = work.join("go/src/kubeapi");
    go::copy(&workspace::root().join("xtask/kubeapi"), &sources)?;
    let go = Toolchain::new(unpacked, work)?;
    let (generator, finished) = (work.join("openapi-gen"), work.join("built"));
    shell::run(go.command("go").args(["build", "-trimpath", "-o"]).arg(&generator).arg("k8s.io/kube-openapi/cmd/openapi-gen"))?;
    shell::run(&mut generate(go.command(&generator), work, &sources))?;
    let version = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
    let program = finished.join("kubeapi");
    shell::run(go.command("go").args(["build", "-trimpath", "-ldflags", &version, "-o"]).arg(program).arg("kubeapi"))?;
    Ok(finished)
}

fn generate(mut generator: Command, work: &Path, sources: &Path) -> Command {
    generator.arg("--output-dir").arg(sources.join("openapi"));
    generator.args([
        "--output-pkg",
        "kubeapi/openapi",
        "--output-file",
        "zz_generated.openapi.go",
        "--report-filename",
        "/dev/null",
    ]);
    generator.arg("--go-header-file").arg(work.join("empty")).args(DEFINED);
    generator
}

/// The library `0.36.4-1` belongs to Kubernetes `v1.36.4`.
fn version(archives: &[PathBuf]) -> Result<String> {
    let names = archives.iter().filter_map(|path| path.file_name()?.to_str());
    let of =
        |name: &str| Some(format!("v1.{}", name.strip_prefix(LIBRARY)?.strip_prefix("0.")?.split(['-', '_', '+', '~']).next()?));
    names.into_iter().find_map(of).ok_or_else(|| Error::new("the API server's library was not fetched, or is not a version 0.x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_library() {
        let paths = |names: &[&str]| names.iter().map(|name| Path::new("/a").join(name)).collect::<Vec<_>>();
        let found = version(&paths(&["golang-1.27-go_1.27-1_amd64.deb", "golang-k8s-apiserver-dev_0.36.4-1_all.deb"])).unwrap();
        assert_eq!(found, "v1.36.4");
        assert_eq!(version(&paths(&["golang-k8s-apiserver-dev_0.37.0~rc.1-1_all.deb"])).unwrap(), "v1.37.0");
        assert!(version(&paths(&["golang-k8s-api-dev_0.36.4-1_all.deb"])).is_err());
    }
}
