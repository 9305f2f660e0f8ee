//! What the text of the repository must keep to.

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is two rooms behind one door.
const MOST_LINES: usize = 400;

/// Files that are read by people or compilers; pictures and the like are not ours to read.
const TEXT: &[&str] = &["rs", "md", "toml", "proto", "json", "yaml", "yml", "sh", ""];

#[test]
fn no_source_file_outgrows_its_room() {
    let too_long: Vec<_> = files().into_iter().filter(|file| file.is("rs")).filter_map(|file| file.too_long()).collect();
    assert!(too_long.is_empty(), "longer than {MOST_LINES} lines: {too_long:#?}");
}

#[test]
fn no_text_names_a_registry_or_a_machine() {
    let found: Vec<_> = files().iter().flat_map(File::foreign_names).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_package_states_its_compiler_and_keeps_the_workspace_lints() {
    let manifests: Vec<_> = files().into_iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() > 5, "the manifests were not found");
    for File { path, text } in manifests {
        assert!(text.contains("rust-version"), "{} states no rust-version", path.display());
        assert!(text.contains("[lints]\nworkspace = true"), "{} does not keep the workspace's lints", path.display());
    }
}

#[test]
fn no_policy_uses_another() {
    let policies: Vec<_> = files().into_iter().filter(File::is_policy).collect();
    assert!(policies.len() > 1, "the policies were not found");
    for file in &policies {
        for other in policies.iter().map(File::module).filter(|other| *other != file.module()) {
            for path in [format!("super::{other}::"), format!("policies::{other}::")] {
                assert!(!file.text.contains(&path), "{} uses the policy {other}", file.path.display());
            }
        }
    }
}

#[test]
fn the_checks_see_what_they_look_for() {
    let file = |text: String| File { path: "x.rs".into(), text };
    assert!(file("\n".repeat(MOST_LINES)).too_long().is_none());
    assert!(file("\n".repeat(MOST_LINES + 1)).too_long().is_some());
    for name in foreign() {
        assert_eq!(file(format!("fine\nsee {name}/x")).foreign_names().len(), 1, "{name}");
    }
    assert!(file("a framework/worker of the root".into()).foreign_names().is_empty());
}

struct File {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        self.path.extension().unwrap_or_default() == extension
    }

    fn too_long(&self) -> Option<String> {
        let lines = self.text.lines().count();
        (lines > MOST_LINES).then(|| format!("{}: {lines}", self.path.display()))
    }

    fn foreign_names(&self) -> Vec<String> {
        let names = foreign();
        let lines = self.text.lines().enumerate().filter(|(_, line)| names.iter().any(|name| line.contains(name)));
        lines.map(|(at, line)| format!("{}:{}: {}", self.path.display(), at + 1, line.trim())).collect()
    }

    /// A policy is a module of `policies` that implements one; helpers beside it do not.
    fn is_policy(&self) -> bool {
        self.path.starts_with("crates/lb-core/src/policies") && self.text.contains("impl Policy for")
    }

    /// `round_robin` for both `policies/round_robin.rs` and `policies/round_robin/mod.rs`.
    fn module(&self) -> String {
        let inside = self.path.strip_prefix("crates/lb-core/src/policies").unwrap_or(&self.path);
        inside.iter().next().map(|name| Path::new(name).with_extension("").display().to_string()).unwrap_or_default()
    }
}

/// Put together here, so that this file does not name them itself.
fn foreign() -> Vec<String> {
    let hosts = [
        ["crates", ".io"],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["npmjs", ".org"],
        ["npmjs", ".com"],
        ["deb.debian", ".org"],
    ];
    let machines = [["/wo", "rk/"], ["/ro", "ot/"]];
    hosts.iter().chain(&machines).map(|parts| parts.concat()).collect()
}

/// Every text file of the repository but what is built and what is generated.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut queue) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(&dir).expect("a readable folder").map(|entry| entry.expect("a readable entry")) {
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                queue.extend(Some(path).filter(|path| *path != root.join("target") && name != ".git"));
            } else if TEXT.contains(&path.extension().unwrap_or_default().to_str().unwrap_or("?")) {
                // Not UTF-8 is not text; a file that vanished meanwhile is not there to be checked.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                found.push(File { path: path.strip_prefix(root).expect("a path below the root").to_owned(), text });
            }
        }
    }
    assert!(found.len() > 30, "the repository was not found at {}", root.display());
    found
}
