//! The oldest compiler we promise, checked without having it: nothing that users build may ask for a newer one.
//!
//! Our own code is held to it by clippy's `incompatible_msrv`, which is on for the whole workspace; this looks at the dependencies.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::error::{Context as _, Error, Result};
use crate::shell;
use crate::workspace::{list, text};

/// Fails if a package states no `rust-version`, or if a normal or build dependency of a published one states a newer one.
pub(crate) fn check() -> Result<()> {
    let text = shell::output(shell::cargo().args(["metadata", "--format-version", "1", "--all-features"]))?;
    let too_new = offenders(&serde_json::from_str(&text).context("cargo metadata is not JSON")?);
    if too_new.is_empty() { Ok(()) } else { Err(Error::new(too_new.join("; "))) }
}

fn offenders(metadata: &Value) -> Vec<String> {
    let by_id: HashMap<&str, &Value> =
        list(&metadata["packages"]).iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let members = list(&metadata["workspace_members"]).iter().filter_map(|id| by_id.get(id.as_str()?).copied());
    let (mut found, mut users) = (Vec::new(), Vec::new());
    for member in members {
        match parse(&member["rust_version"]) {
            None => found.push(format!("{} states no rust-version", text(&member["name"]))),
            Some(_) if !member["publish"].is_null() => {}
            Some(promised) => users.push((member, promised)),
        }
    }
    for (member, promised) in users {
        for package in needed(metadata, &text(&member["id"])).iter().filter_map(|id| by_id.get(id.as_str())) {
            if parse(&package["rust_version"]).is_some_and(|needs| needs > promised) {
                let (user, name, needs) = (text(&member["name"]), text(&package["name"]), text(&package["rust_version"]));
                found.push(format!("{user} needs {name}, which needs Rust {needs}"));
            }
        }
    }
    found
}

/// Everything reached from `id` over normal and build dependencies.
fn needed(metadata: &Value, id: &str) -> HashSet<String> {
    let nodes: HashMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let (mut seen, mut queue) = (HashSet::new(), vec![id.to_owned()]);
    while let Some(id) = queue.pop() {
        let deps = nodes.get(id.as_str()).map_or(&[][..], |node| list(&node["deps"]));
        let kept = deps.iter().filter(|dep| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev"));
        queue.extend(kept.map(|dep| text(&dep["pkg"])).filter(|id| !seen.contains(id)));
        seen.insert(id);
    }
    seen
}

/// `1.89` and `1.89.0` are the same version.
fn parse(value: &Value) -> Option<[u32; 3]> {
    let mut parts = value.as_str()?.split('.').map(|part| part.parse().unwrap_or(0));
    Some([parts.next()?, parts.next().unwrap_or(0), parts.next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(normal: &str, dev: &str) -> Value {
        json!({
            "workspace_members": ["us"],
            "packages": [
                { "id": "us", "name": "us", "rust_version": "1.89", "publish": null },
                { "id": "n", "name": "normal", "rust_version": normal },
                { "id": "d", "name": "dev", "rust_version": dev },
            ],
            "resolve": { "nodes": [{ "id": "us", "deps": [
                { "pkg": "n", "dep_kinds": [{ "kind": null }] },
                { "pkg": "d", "dep_kinds": [{ "kind": "dev" }] },
            ]}]},
        })
    }

    #[test]
    fn a_newer_dependency_is_named_and_a_dev_dependency_is_not() {
        assert_eq!(offenders(&workspace("1.89.0", "1.95")), Vec::<String>::new());
        assert_eq!(offenders(&workspace("1.90", "1.80")), ["us needs normal, which needs Rust 1.90"]);
    }

    #[test]
    fn a_package_without_a_promise_is_named() {
        let mut metadata = workspace("1.0", "1.0");
        metadata["packages"][0]["rust_version"] = Value::Null;
        assert_eq!(offenders(&metadata), ["us states no rust-version"]);
    }
}
