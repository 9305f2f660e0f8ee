//! What the workspace holds, as `cargo metadata` tells it: packages, their features, their targets.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Context as _, Result};
use crate::shell;

/// Needs a C compiler and two minutes; ring is the provider that tests use. CI's feature checks and its clippy run build this one too.
pub(crate) const SLOW_FEATURE: &str = "tls-aws-lc";

/// One package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Without `default`.
    pub(crate) features: Vec<String>,
    /// Whether it is meant for a registry, and so for users.
    pub(crate) published: bool,
    pub(crate) targets: Vec<Target>,
}

/// One thing cargo builds of a package.
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `bench`, `example`, …
    pub(crate) kind: String,
    pub(crate) required_features: Vec<String>,
}

/// The repository's root: the directory above this package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a directory of the workspace")
}

/// Where this tool may leave files, below cargo's own output.
pub(crate) fn scratch() -> Result<PathBuf> {
    let path = target_directory()?.join("xtask");
    std::fs::create_dir_all(&path).context(path.display())?;
    Ok(path)
}

/// Where cargo puts what it makes.
pub(crate) fn target_directory() -> Result<PathBuf> {
    Ok(PathBuf::from(metadata()?["target_directory"].as_str().unwrap_or("target")))
}

/// The packages of the workspace, sorted by name.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let metadata = metadata()?;
    let mut packages: Vec<_> = list(&metadata["packages"]).iter().map(package).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Every feature but the slow one, as `package/feature`: the one feature set that `test`, its doc tests and its examples share, so
/// that nothing is built twice.
pub(crate) fn test_features(packages: &[Package]) -> String {
    let all = packages.iter().flat_map(|package| package.features.iter().map(move |feature| (package, feature)));
    let wanted = all.filter(|(_, feature)| *feature != SLOW_FEATURE);
    wanted.map(|(package, feature)| format!("{}/{feature}", package.name)).collect::<Vec<_>>().join(",")
}

fn metadata() -> Result<Value> {
    let text = shell::output(shell::cargo().args(["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}

fn package(value: &Value) -> Package {
    let features = value["features"].as_object().into_iter().flat_map(|features| features.keys());
    Package {
        name: text(&value["name"]),
        features: features.filter(|name| *name != "default").cloned().collect(),
        published: value["publish"].is_null(),
        targets: list(&value["targets"]).iter().map(target).collect(),
    }
}

fn target(value: &Value) -> Target {
    Target {
        name: text(&value["name"]),
        kind: text(&value["kind"][0]),
        required_features: list(&value["required-features"]).iter().map(text).collect(),
    }
}

/// The elements of an array; none for anything else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A string; empty for anything else.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_found() {
        let packages = packages().unwrap();
        let facade = packages.iter().find(|package| package.name == "evenkeel").unwrap();
        assert!(facade.published && facade.features.iter().any(|feature| feature == SLOW_FEATURE));
        assert!(packages.iter().any(|package| package.name == "xtask" && !package.published));
        let features = test_features(&packages);
        assert!(features.contains("evenkeel/tls-ring") && !features.contains(SLOW_FEATURE), "{features}");
    }
}
