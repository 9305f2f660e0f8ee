//! What one configuration changes in another.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::keys::{self, Change, HIDDEN, Key, Scope};
use crate::layer::shown_path;
use crate::settings::ServiceSettings;
use crate::view::{Entries, View};

type Services = BTreeMap<Arc<str>, Arc<ServiceSettings>>;

/// What a new configuration changes: every key whose value is another one, service by service. Keys of sections that are off before and
/// after do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Diff {
    /// Keys with another value.
    pub changed: Vec<Changed>,
    /// Services that there were not.
    pub added: Vec<Arc<str>>,
    /// Services that there are no more.
    pub removed: Vec<Arc<str>>,
}

/// One key with another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Changed {
    /// Of which service; `None` for what is no service's.
    pub service: Option<Arc<str>>,
    /// Its path.
    pub key: &'static str,
    /// Before, as people write it; `None` if it had no value or no effect.
    pub from: Option<String>,
    /// After.
    pub to: Option<String>,
    /// Whether it counts for channels that run, rather than for new ones alone.
    pub live: bool,
}

impl Diff {
    pub(crate) fn between(old: (&Entries, &Services), new: (&Entries, &Services)) -> Self {
        let mut diff = Self { changed: compare(None, old.0, new.0), ..Self::default() };
        for name in new.1.keys() {
            match old.1.contains_key(name) {
                true => diff.changed.extend(compare(Some(name), old.0, new.0)),
                false => diff.added.push(Arc::clone(name)),
            }
        }
        diff.removed.extend(old.1.keys().filter(|name| !new.1.contains_key(*name)).cloned());
        diff
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }

    /// What counts for channels that run.
    pub fn live(&self) -> impl Iterator<Item = &Changed> {
        self.changed.iter().filter(|changed| changed.live)
    }

    /// What counts for new channels alone.
    pub fn waiting(&self) -> impl Iterator<Item = &Changed> {
        self.changed.iter().filter(|changed| !changed.live)
    }

    /// What it changes for one service.
    pub fn of(&self, service: &str) -> impl Iterator<Item = &Changed> {
        self.changed.iter().filter(move |changed| changed.service.as_deref() == Some(service))
    }
}

/// What changes for one service, or with `None` for what is no service's.
pub(crate) fn compare(service: Option<&Arc<str>>, old: &Entries, new: &Entries) -> Vec<Changed> {
    let (before, after) = (Seen::new(View::new(old, service)), Seen::new(View::new(new, service)));
    let concerns = |key: &&Key| (key.scope == Scope::Top) == service.is_none();
    keys::all().iter().filter(concerns).filter_map(|key| changed(service, &before, &after, key)).collect()
}

/// A view, and the sections in it that have any effect.
struct Seen<'a> {
    view: View<'a>,
    counting: HashSet<&'static str>,
}

impl<'a> Seen<'a> {
    fn new(view: View<'a>) -> Self {
        let counting = keys::sections().iter().map(|section| section.path).filter(|path| view.counts_section(path));
        Self { view, counting: counting.chain([""]).collect() }
    }

    fn counts(&self, key: &Key) -> bool {
        // A switch counts wherever its outer section does, so that off to on shows.
        let section = if key.is_switch() { outer(key.section()) } else { key.section() };
        self.counting.contains(section)
    }

    fn value(&self, key: &'static Key) -> Option<Value> {
        if self.counts(key) { self.view.value(key) } else { None }
    }
}

fn changed(service: Option<&Arc<str>>, before: &Seen<'_>, after: &Seen<'_>, key: &'static Key) -> Option<Changed> {
    let unsaid = |seen: &Seen<'_>| !key.is_switch() && seen.view.find(key).is_none();
    if before.counts(key) == after.counts(key) && unsaid(before) && unsaid(after) {
        return None;
    }
    let (old, new) = (before.value(key), after.value(key));
    if old == new {
        return None;
    }
    let show = |value: Option<&Value>| value.map(|value| key.kind.show(value));
    let live = match key.change {
        Change::Live | Change::Told => true,
        Change::LiveOnceSet => old.as_ref().is_some_and(|old| *old != false),
        Change::NewChannel => false,
    };
    Some(Changed { service: service.cloned(), key: key.path, from: show(old.as_ref()), to: show(new.as_ref()), live })
}

/// The section that a section is in.
pub(crate) fn outer(section: &str) -> &str {
    section.rsplit_once('.').map_or("", |(outer, _)| outer)
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, "{}", shown_path(self.service.as_ref(), self.key))?;
        match self.to.as_deref() == Some(HIDDEN) && self.from.as_deref() == Some(HIDDEN) {
            true => f.write_str(" is another secret")?,
            false => write!(f, " {} -> {}", word(&self.from), word(&self.to))?,
        }
        if self.live { Ok(()) } else { f.write_str(" (needs a new channel)") }
    }
}

impl fmt::Display for Diff {
    /// One change to a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.added.iter().map(|name| format!("services.{name} added"));
        let removed = self.removed.iter().map(|name| format!("services.{name} removed"));
        let lines: Vec<String> = added.chain(removed).chain(self.changed.iter().map(Changed::to_string)).collect();
        f.write_str(&if lines.is_empty() { "nothing changed".to_owned() } else { lines.join("\n") })
    }
}
