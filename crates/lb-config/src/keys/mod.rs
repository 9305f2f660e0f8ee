//! Every key there is: what it may hold, its default, and whether it can change while a channel runs. Everything else reads these tables:
//! the checks, the environment, the JSON Schema, the tables of `docs/CONFIG.md` and `Config::explain`.

mod calls;
mod channel;
mod connection;
mod failures;
mod hooks;
mod kind;
mod load;
mod registries;
mod traces;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

pub use kind::Kind;
pub(crate) use kind::{HIDDEN, cut};

/// What becomes of a new value of a key while channels run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It counts at once.
    Live,
    /// It counts at once where the channel was built with one; setting it where there was none needs a new channel.
    LiveOnceSet,
    /// It counts for channels built from then on.
    NewChannel,
    /// It is no channel's: whoever reads it is told.
    Told,
}

/// For what a key can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// For all services, and for one of them.
    Any,
    /// For one service; at the top, for the service `default`.
    Own,
    /// At the top only.
    Top,
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Key {
    /// Its path, such as `retry.maxAttempts`.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Its default as text; empty if there is none.
    pub default: &'static str,
    /// Whether it can change while channels run.
    pub change: Change,
    /// For what it can be set.
    pub scope: Scope,
    /// What it does.
    pub about: &'static str,
}

/// Several keys that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// Its path, such as `retry`.
    pub path: &'static str,
    /// Whether it is off until something in it is set; `enabled` in it then switches it.
    pub switch: bool,
    /// What it is for.
    pub about: &'static str,
}

impl Key {
    const fn new(path: &'static str, kind: Kind, default: &'static str, change: Change, about: &'static str) -> Self {
        Self { path, kind, default, change, scope: Scope::Any, about }
    }

    const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The variable of the environment it is read from: `LB_RETRY_MAX_ATTEMPTS`.
    pub fn variable(&self) -> String {
        format!("LB_{}", shouted(self.path))
    }

    /// Its default in canonical form.
    pub fn default(&self) -> Option<Value> {
        if self.default.is_empty() { None } else { self.kind.parse(self.default) }
    }

    /// The section it is in; empty at the top.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether it is the switch of its section.
    pub(crate) fn is_switch(&self) -> bool {
        self.name() == "enabled" && find_section(self.section()).is_some_and(|section| section.switch)
    }
}

/// Further variables of the environment, under the names that gateways before this one had.
pub const ALIASES: &[(&str, &str)] = &[
    ("LB_DEFAULT_ALGORITHM", "policy"),
    ("LB_SESSION_AFFINITY_ENABLED", "sessions.enabled"),
    ("LB_SESSION_AFFINITY_TTL", "sessions.ttl"),
    ("CB_BACKEND_URL", "circuitBreaker.backendUrl"),
    ("CB_CHECK_INTERVAL", "circuitBreaker.checkInterval"),
    ("METRICS_BACKEND_URL", "metrics.backendUrl"),
    ("METRICS_COLLECTION_INTERVAL", "metrics.collectionInterval"),
];

static ALL: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let tables =
        [channel::KEYS, registries::KEYS, connection::KEYS, calls::KEYS, failures::KEYS, load::KEYS, hooks::KEYS, traces::KEYS];
    let mut keys: Vec<Key> = tables.concat();
    keys.sort_by_key(|key| key.path);
    keys
});

static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let tables = [
        channel::SECTIONS,
        registries::SECTIONS,
        connection::SECTIONS,
        calls::SECTIONS,
        failures::SECTIONS,
        load::SECTIONS,
        hooks::SECTIONS,
        traces::SECTIONS,
    ];
    let mut sections: Vec<Section> = tables.concat();
    sections.sort_by_key(|section| section.path);
    sections
});

static VARIABLES: LazyLock<HashMap<String, &'static Key>> =
    LazyLock::new(|| all().iter().map(|key| (shouted(key.path), key)).collect());

/// The key that the environment calls so, without `LB_`.
pub(crate) fn by_variable(name: &str) -> Option<&'static Key> {
    VARIABLES.get(name).copied()
}

/// All keys, by path.
pub fn all() -> &'static [Key] {
    &ALL
}

/// All sections, by path.
pub fn sections() -> &'static [Section] {
    &SECTIONS
}

/// The key at this path.
pub fn find(path: &str) -> Option<&'static Key> {
    ALL.binary_search_by_key(&path, |key| key.path).ok().map(|at| &ALL[at])
}

/// The section at this path.
pub fn find_section(path: &str) -> Option<&'static Section> {
    SECTIONS.binary_search_by_key(&path, |section| section.path).ok().map(|at| &SECTIONS[at])
}

/// The keys in a section and in those within it: they stand together, because keys are sorted.
pub(crate) fn below(section: &str) -> impl Iterator<Item = &'static Key> {
    let first = ALL.partition_point(|key| key.path < section);
    ALL[first..]
        .iter()
        .skip_while(move |key| key.path.starts_with(section) && !is_below(key.path, section))
        .take_while(move |key| is_below(key.path, section))
}

/// What may stand in an object at this path.
pub(crate) fn names_in(section: &str) -> impl Iterator<Item = &'static str> {
    let paths = ALL.iter().map(|key| key.path).chain(SECTIONS.iter().map(|section| section.path));
    paths.filter_map(move |path| {
        let name = if section.is_empty() { path } else { path.strip_prefix(section)?.strip_prefix('.')? };
        (!name.contains('.')).then_some(name)
    })
}

pub(crate) fn is_below(path: &str, section: &str) -> bool {
    section.is_empty() || path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// A path as variables of the environment have it: `retry.maxAttempts` is `RETRY_MAX_ATTEMPTS`.
pub(crate) fn shouted(path: &str) -> String {
    let mut name = String::new();
    for c in path.chars() {
        match c {
            'A'..='Z' => name.extend(['_', c]),
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_uppercase()),
            _ => name.push('_'),
        }
    }
    name
}

const fn section(path: &'static str, about: &'static str) -> Section {
    Section { path, switch: false, about }
}

/// A section that is off until something in it is set.
const fn optional(path: &'static str, about: &'static str) -> Section {
    Section { path, switch: true, about }
}

/// The switch of an optional section.
const fn switch(path: &'static str, change: Change) -> Key {
    Key::new(path, Kind::Flag, "", change, "Switches the section; default on if anything in it is set, else off")
}

/// Bounds that several tables use.
mod bounds {
    use std::time::Duration;

    pub(super) const ZERO: Duration = Duration::ZERO;
    pub(super) const MILLI: Duration = Duration::from_millis(1);
    pub(super) const SECOND: Duration = Duration::from_secs(1);
    pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
    pub(super) const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
    pub(super) const U32: u64 = u32::MAX as u64;
    /// As large as a message can be.
    pub(super) const MESSAGE: u64 = 4 << 30;
}

#[cfg(test)]
mod tests;
