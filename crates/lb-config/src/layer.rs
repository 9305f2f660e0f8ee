//! One layer: a tree of JSON, checked against the tables of keys and taken apart into its values.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::keys::{self, HIDDEN, Key, Kind, Scope, cut};
use crate::place::Place;
use crate::problem::{Gathered, Problem};
use crate::suggest::nearest;
use crate::view::Entries;

/// More services than this are a mistake, or an attack.
pub(crate) const MOST_SERVICES: usize = 1000;

/// What one source says. `null` takes back what an earlier layer said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    pub(crate) said: Vec<Said>,
    /// Services that are there, whether or not anything is said of them.
    pub(crate) services: Vec<Arc<str>>,
}

/// One value, and who said it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) place: Place,
    pub(crate) value: Value,
    pub(crate) source: Arc<str>,
}

impl Layer {
    /// From a whole tree.
    pub(crate) fn read(source: &str, tree: &Value, problems: &mut Gathered) -> Self {
        Self::read_over(source, tree, None, problems)
    }

    /// The same, where a hidden secret is the one that is known.
    pub(crate) fn read_over(source: &str, tree: &Value, known: Option<&Entries>, problems: &mut Gathered) -> Self {
        let mut reader = Reader { layer: Self::default(), source: source.into(), known, problems };
        match tree {
            Value::Object(tree) => reader.top(tree),
            // An empty file says nothing.
            Value::Null => {}
            other => reader.wrong("", other, "an object"),
        }
        reader.layer
    }

    /// Adds one value. `None` if the key does not allow it.
    pub(crate) fn say(&mut self, source: &Arc<str>, place: Place, kind: Kind, value: &Value) -> Option<()> {
        let value = if value.is_null() { Value::Null } else { kind.read(value)? };
        self.said.push(Said { place, value, source: Arc::clone(source) });
        Some(())
    }
}

/// Whether a service may have this name.
pub(crate) fn checked_name(source: &str, name: &str) -> Result<Arc<str>, Problem> {
    const LONGEST: usize = 200;
    let fits = !name.is_empty() && name.len() <= LONGEST && !name.chars().any(|c| c.is_whitespace() || c.is_control());
    let allowed = "a name of 1 to 200 bytes without spaces";
    if fits { Ok(name.into()) } else { Err(Problem::new(source, "services", format!("the name {:?}", cut(name)), allowed)) }
}

struct Reader<'a> {
    layer: Layer,
    source: Arc<str>,
    /// Where hidden secrets are known from.
    known: Option<&'a Entries>,
    problems: &'a mut Gathered,
}

impl Reader<'_> {
    fn top(&mut self, tree: &Map<String, Value>) {
        for (name, value) in tree {
            match (name.as_str(), value) {
                ("$schema", Value::String(_)) | ("services", Value::Null) => {}
                ("services", Value::Object(services)) => self.services(services),
                ("services", other) => self.wrong("services", other, "an object of services by name"),
                (name, value) => self.entry(None, "", name, value),
            }
        }
    }

    fn services(&mut self, services: &Map<String, Value>) {
        for (name, value) in services {
            let Some(name) = self.problems.keep(checked_name(&self.source, name)) else { continue };
            if self.layer.services.len() >= MOST_SERVICES {
                let found = format!("{} services", services.len());
                return self.problems.add(Problem::new(&self.source, "services", found, format!("at most {MOST_SERVICES}")));
            }
            self.layer.services.push(Arc::clone(&name));
            match value {
                Value::Object(tree) => tree.iter().for_each(|(key, value)| self.entry(Some(&name), "", key, value)),
                Value::Null => {}
                other => self.wrong(&format!("services.{name}"), other, "an object"),
            }
        }
    }

    fn entry(&mut self, service: Option<&Arc<str>>, within: &str, name: &str, value: &Value) {
        let path = if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") };
        // A dot in a name would make `{"retry.maxAttempts": 3}` a second way to say the same.
        let known = !name.contains('.');
        match (keys::find(&path), keys::find_section(&path)) {
            (Some(key), _) if known => self.value(service, key, value),
            (_, Some(section)) if known => self.section(service, section, value),
            _ => self.unknown(service, within, &path, name),
        }
    }

    fn section(&mut self, service: Option<&Arc<str>>, section: &'static keys::Section, value: &Value) {
        let switch = keys::find(&format!("{}.enabled", section.path)).filter(|_| section.switch);
        match (value, switch) {
            (Value::Object(tree), Some(switch)) if tree.is_empty() => self.value(service, switch, &Value::Bool(true)),
            (Value::Bool(_), Some(switch)) => self.value(service, switch, value),
            (Value::Object(tree), _) => tree.iter().for_each(|(name, value)| self.entry(service, section.path, name, value)),
            (Value::Null, _) => keys::below(section.path).for_each(|key| self.value(service, key, &Value::Null)),
            (other, Some(_)) => self.wrong(&shown_path(service, section.path), other, "an object, true or false"),
            (other, None) => self.wrong(&shown_path(service, section.path), other, "an object"),
        }
    }

    fn value(&mut self, service: Option<&Arc<str>>, key: &'static Key, value: &Value) {
        let path = shown_path(service, key.path);
        if key.scope == Scope::Top && service.is_some() {
            return self.problems.add(Problem::new(&self.source, path, "set for one service", "only at the top"));
        }
        if key.kind.is_secret() && value.as_array().is_some_and(|list| list.iter().any(|secret| secret == HIDDEN)) {
            let known = self.known.and_then(|known| known.get(&Place::new(service, key)));
            return match known {
                Some(entry) => self.layer.said.push(Said {
                    place: Place::new(service, key),
                    value: entry.value.clone(),
                    source: Arc::clone(&entry.source),
                }),
                None => self.problems.add(Problem::new(&self.source, path, HIDDEN, "the secret itself, or to leave the key out")),
            };
        }
        if self.layer.say(&Arc::clone(&self.source), Place::new(service, key), key.kind, value).is_none() {
            let problem = Problem::new(&self.source, path, quoted(key.kind, value), key.kind.allowed());
            self.problems.add(problem.suggest(suggestion(key.kind, value).as_deref()));
        }
    }

    fn unknown(&mut self, service: Option<&Arc<str>>, within: &str, path: &str, name: &str) {
        let source = &self.source;
        self.problems.add_with(|| {
            let mut names: Vec<&str> = keys::names_in(within).collect();
            if within.is_empty() && service.is_none() {
                names.push("services");
            }
            // At the right level first; then whatever has this name elsewhere.
            let elsewhere = || keys::all().iter().find(|key| key.name() == name && key.name() != "enabled").map(|key| key.path);
            let meant = nearest(name, names.iter().copied()).or_else(elsewhere);
            // Its value is not shown: it may be a secret whose key was misspelt.
            let path = cut(&shown_path(service, path));
            Problem::new(source, path, "no key", format!("one of {}", names.join(", "))).suggest(meant)
        });
    }

    fn wrong(&mut self, path: &str, value: &Value, allowed: &str) {
        self.problems.add(Problem::new(&self.source, path, quoted(Kind::Object, value), allowed));
    }
}

/// A value in an error: text in quotes, so that `"5"` and `5` are told apart.
pub(crate) fn quoted(kind: Kind, value: &Value) -> String {
    match value {
        Value::String(_) if !kind.is_secret() => format!("{:?}", kind.show(value)),
        value => kind.show(value),
    }
}

pub(crate) fn shown_path(service: Option<&Arc<str>>, path: &str) -> String {
    service.map_or_else(|| path.to_owned(), |service| format!("services.{service}.{path}"))
}

/// What was perhaps meant by a value.
pub(crate) fn suggestion(kind: Kind, value: &Value) -> Option<String> {
    match (kind, value) {
        (Kind::Choice(words), Value::String(text)) => nearest(text, words.iter().copied()).map(str::to_owned),
        (Kind::Time(..) | Kind::TimeOrNever(..), Value::Number(number)) => Some(format!("{number}s or {number}ms")),
        (Kind::Time(..) | Kind::TimeOrNever(..), Value::String(text)) if text.parse::<f64>().is_ok() => {
            Some(format!("{}s or {}ms", cut(text), cut(text)))
        }
        (Kind::Flag, Value::String(text)) => kind.parse(text).map(|flag| flag.to_string()),
        (Kind::Texts | Kind::Endpoints | Kind::Codes, Value::String(text)) => Some(format!("[{:?}]", cut(text))),
        _ => None,
    }
}
