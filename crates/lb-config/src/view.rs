//! What counts for one service: its own word before that for all, and the default where there is neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::{ConfigError, human};
use serde_json::{Map, Value};

use crate::keys::{self, Key, Kind, Scope};
use crate::layer::{Said, shown_path};
use crate::place::Place;
use crate::problem::Problem;

/// What was said of each place in the end, and what it took the place of.
pub(crate) type Entries = BTreeMap<Place, Entry>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) source: Arc<str>,
    /// Who said something else before.
    pub(crate) over: Vec<Arc<str>>,
}

/// Lays one value over the others.
pub(crate) fn lay(entries: &mut Entries, said: Said) {
    let Said { place, value, source } = said;
    let before = entries.remove(&place);
    if value.is_null() {
        return;
    }
    let over = before.map(|entry| entry.over.into_iter().chain([entry.source]).collect()).unwrap_or_default();
    entries.insert(place, Entry { value, source, over });
}

/// The service that is set up at the top, without a name.
pub(crate) const UNNAMED: &str = "default";

/// The configuration as one service sees it, or as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    entries: &'a Entries,
    service: Option<&'a Arc<str>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(entries: &'a Entries, service: Option<&'a Arc<str>>) -> Self {
        Self { entries, service }
    }

    /// What was said, and where.
    pub(crate) fn find(&self, key: &'static Key) -> Option<(&'a Place, &'a Entry)> {
        let own = self.service.and_then(|_| self.entries.get_key_value(&Place::new(self.service, key)));
        let unnamed = self.service.is_none_or(|name| **name == *UNNAMED);
        let shared = || (unnamed || key.scope != Scope::Own).then(|| self.entries.get_key_value(&Place::new(None, key)))?;
        own.or_else(shared)
    }

    /// The value that counts for a key: for a switch, whether it is on.
    pub(crate) fn value(&self, key: &'static Key) -> Option<Value> {
        if key.is_switch() {
            return Some(self.is_on(key.section()).into());
        }
        self.find(key).map(|(_, entry)| entry.value.clone()).or_else(|| key.default())
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        keys::find(path).and_then(|key| self.value(key))
    }

    /// Whether somebody said it, rather than it being the default.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        keys::find(path).is_some_and(|key| self.find(key).is_some())
    }

    /// Whether an optional section is on: as its switch says, else if anything in it is set.
    pub(crate) fn is_on(&self, section: &str) -> bool {
        match keys::find(&format!("{section}.enabled")).and_then(|key| self.find(key)) {
            Some((_, entry)) => entry.value == true,
            None => {
                keys::below(section).any(|key| self.find(key).is_some_and(|(_, entry)| !(key.is_switch() && entry.value == false)))
            }
        }
    }

    /// Whether a key has any effect: every optional section it is in is on.
    pub(crate) fn counts(&self, key: &'static Key) -> bool {
        self.counts_section(key.section())
    }

    pub(crate) fn counts_section(&self, section: &str) -> bool {
        let ends = section.match_indices('.').map(|(at, _)| at).chain([section.len()]);
        let mut sections = ends.filter_map(|end| keys::find_section(&section[..end]));
        sections.all(|section| !section.switch || self.is_on(section.path))
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.get(path)?.as_str().map(str::to_owned)
    }

    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        let list = self.get(path).unwrap_or_default();
        list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn flag(&self, path: &str) -> bool {
        self.get(path) == Some(Value::Bool(true))
    }

    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        self.get(path)?.as_f64()
    }

    pub(crate) fn whole(&self, path: &str) -> Option<u64> {
        self.get(path)?.as_u64()
    }

    pub(crate) fn whole_u32(&self, path: &str) -> Option<u32> {
        self.whole(path).and_then(|number| u32::try_from(number).ok())
    }

    pub(crate) fn size(&self, path: &str) -> Option<usize> {
        self.whole(path).and_then(|size| usize::try_from(size).ok())
    }

    /// `never` is none.
    pub(crate) fn time(&self, path: &str) -> Option<Duration> {
        human::duration(self.get(path)?.as_str()?).ok()
    }

    /// A section as the JSON that its own room reads: every key with what counts for it, durations in seconds, and of optional sections
    /// within it those that are on.
    pub(crate) fn object(&self, section: &str) -> Value {
        let mut object = Map::new();
        for name in keys::names_in(section).filter(|name| *name != "enabled") {
            let path = format!("{section}.{name}");
            let value = match (keys::find(&path), keys::find_section(&path)) {
                (Some(key), _) => self.value(key).map(|value| in_seconds(key.kind, value)),
                (_, Some(inner)) => (!inner.switch || self.is_on(&path)).then(|| self.object(&path)),
                _ => None,
            };
            object.extend(value.map(|value| (name.to_owned(), value)));
        }
        object.into()
    }

    /// What another room says is wrong with a section, at its place.
    pub(crate) fn blame(&self, section: &str, error: &ConfigError) -> Problem {
        let named: Vec<&str> = error.field.split(['.', '[']).filter(|part| !part.is_empty()).collect();
        let key = (0..named.len()).find_map(|from| {
            let path = format!("{section}.{}", named[from..].join("."));
            keys::find(&path).or_else(|| keys::find(&format!("{section}.{}", named[from])))
        });
        let path = key.map_or(section, |key| key.path);
        let at = if key.is_some() { String::new() } else { format!("{}: ", error.field) };
        let allowed = format!("{at}{}", error.allowed);
        Problem::new(&self.source(path), self.shown(path), keys::cut(&error.value), allowed)
    }

    /// A value that its key allows and something else does not.
    pub(crate) fn wrong(&self, path: &str, value: &str, allowed: impl Into<String>) -> Problem {
        Problem::new(&self.source(path), self.shown(path), keys::cut(value), allowed)
    }

    /// The path at which it was said, or would be for this service.
    fn shown(&self, path: &str) -> String {
        let here = keys::find(path).and_then(|key| self.find(key));
        let within = || keys::below(path).find_map(|key| self.find(key));
        match here.or_else(within) {
            Some((place, _)) if place.service().is_none() => path.to_owned(),
            _ => shown_path(self.service, path),
        }
    }

    /// Who said it, or the last who said anything in the section.
    fn source(&self, path: &str) -> String {
        let here = keys::find(path).and_then(|key| self.find(key));
        let within = || keys::below(path).find_map(|key| self.find(key));
        here.or_else(within).map_or_else(|| "default".to_owned(), |(_, entry)| entry.source.to_string())
    }
}

/// A duration as service configs have it.
fn in_seconds(kind: Kind, value: Value) -> Value {
    let time = match (kind, &value) {
        (Kind::Time(..) | Kind::TimeOrNever(..), Value::String(text)) => human::duration(text).ok(),
        _ => None,
    };
    time.map_or(value, |time| human::in_seconds(time).into())
}
