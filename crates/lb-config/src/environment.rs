//! The environment as a layer.
//!
//! Every key is a variable: `LB_` and its path in capitals, `LB_RETRY_MAX_ATTEMPTS` for `retry.maxAttempts`; for one service,
//! `LB_SERVICES_ORDERS_RETRY_MAX_ATTEMPTS`. `ORDERS_HOSTS` and `ORDERS_WEIGHT` are the service's endpoints and their weight, and some
//! keys have a [second name](crate::keys::ALIASES). A name of the environment stands for every service that is written so: `ORDER_ITEMS`
//! for `order-items`, `order.items` and `OrderItems` alike, whichever is configured; one that none is becomes `order-items`.
//!
//! An empty variable says nothing, because that is how templates of containers leave things out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use serde_json::Value;

use crate::keys::{self, ALIASES, Key, Scope, cut, shouted};
use crate::layer::{Layer, MOST_SERVICES, checked_name, quoted, shown_path, suggestion};
use crate::place::Place;
use crate::problem::{Gathered, Problem};
use crate::suggest::nearest;

const PREFIX: &str = "LB_";
const SERVICE: &str = "LB_SERVICES_";
const LIST: &str = "LB_SERVICES";
const HOSTS: &str = "_HOSTS";
const WEIGHT: &str = "_WEIGHT";

/// The longest name that is read: that of a service, and the longest path.
const LONGEST_NAME: usize = 512;

/// The longest value that is read. Systems allow 128 KiB.
const LONGEST: usize = 1 << 17;

/// Reads the variables that concern us. `known` are the services that earlier layers named.
pub(crate) fn read(variables: &BTreeMap<OsString, OsString>, known: &[Arc<str>], problems: &mut Gathered) -> Layer {
    let mut reader = Reader { layer: Layer::default(), services: BTreeMap::new(), closed: false, problems };
    known.iter().for_each(|name| reader.service(name));
    let ours: Vec<(&str, String)> = variables.iter().filter_map(|(name, value)| reader.ours(name, value)).collect();
    if let Some((_, list)) = ours.iter().find(|(name, _)| *name == LIST) {
        reader.list(list);
    }
    for (name, value) in &ours {
        reader.hosts(name, value);
    }
    // Second names first, so that a key's own counts where both are set.
    let (second, own): (Vec<_>, Vec<_>) = ours.iter().partition(|(name, _)| alias(name).is_some());
    for (name, value) in second.into_iter().chain(own) {
        reader.variable(name, value);
    }
    reader.layer
}

fn alias(name: &str) -> Option<&'static Key> {
    ALIASES.iter().find(|(alias, _)| *alias == name).and_then(|(_, path)| keys::find(path))
}

struct Reader<'a> {
    layer: Layer,
    /// By the name the environment has for them.
    services: BTreeMap<String, Arc<str>>,
    /// Whether there are no services but those named so far.
    closed: bool,
    problems: &'a mut Gathered,
}

impl Reader<'_> {
    /// A variable that is ours, and says something that can be read.
    fn ours<'v>(&mut self, name: &'v OsString, value: &OsString) -> Option<(&'v str, String)> {
        let name = name.to_str()?;
        let hosts = [HOSTS, WEIGHT].iter().any(|end| name.strip_suffix(end).is_some_and(|service| !service.is_empty()));
        if value.is_empty() || !(name.starts_with(PREFIX) || alias(name).is_some() || hosts) {
            return None;
        }
        if name.len() > LONGEST_NAME {
            return if hosts && !name.starts_with(PREFIX) {
                None
            } else {
                self.wrong(name, &cut(name), "too long a name", "at most 512 bytes")
            };
        }
        match value.to_str() {
            Some(text) if text.len() <= LONGEST => (!text.trim().is_empty()).then(|| (name, text.to_owned())),
            // Of those that may be another program's, nothing is asked.
            _ if hosts && !name.starts_with(PREFIX) => None,
            Some(text) => self.wrong(name, name, &format!("{} bytes long", text.len()), &format!("at most {LONGEST} bytes")),
            None => self.wrong(name, name, "not UTF-8", "UTF-8"),
        }
    }

    fn wrong<T>(&mut self, variable: &str, path: &str, value: &str, allowed: &str) -> Option<T> {
        self.problems.add(Problem::new(&source(variable), path, value, allowed));
        None
    }

    fn service(&mut self, name: &Arc<str>) {
        self.services.entry(shouted(name).trim_start_matches('_').to_owned()).or_insert_with(|| Arc::clone(name));
    }

    /// `LB_SERVICES=orders,stock`: these, and no others that a stray `…_HOSTS` would make.
    fn list(&mut self, list: &str) {
        self.closed = true;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if let Some(name) = self.problems.keep(checked_name(&source(LIST), name)) {
                self.service(&name);
                self.layer.services.push(name);
            }
        }
    }

    /// Makes the services that have endpoints by `…_HOSTS`.
    fn hosts(&mut self, name: &str, _value: &str) {
        let Some(service) = name.strip_suffix(HOSTS).filter(|_| !name.starts_with(PREFIX)) else { return };
        if self.closed || self.services.contains_key(service) || self.services.len() >= MOST_SERVICES {
            return;
        }
        let new = service.to_ascii_lowercase().replace('_', "-");
        if let Some(new) = self.problems.keep(checked_name(&source(name), &new)) {
            self.services.insert(service.to_owned(), Arc::clone(&new));
            self.layer.services.push(new);
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        if name == LIST {
            return;
        }
        if let Some(key) = alias(name) {
            return self.say(name, None, key, value);
        }
        let Some(rest) = name.strip_prefix(PREFIX) else { return self.of_service(name, value) };
        match keys::by_variable(rest) {
            Some(key) => self.say(name, None, key, value),
            None if name.starts_with(SERVICE) => self.in_service(name, value),
            None => self.unknown(name),
        }
    }

    /// `ORDERS_HOSTS`, `ORDERS_WEIGHT`.
    fn of_service(&mut self, name: &str, value: &str) {
        let ends = [(HOSTS, "endpoints"), (WEIGHT, "weight")];
        let found = ends.into_iter().find_map(|(end, path)| Some((name.strip_suffix(end)?, keys::find(path)?)));
        let Some((service, key)) = found else { return };
        // One that is no service's is another program's.
        if let Some(service) = self.services.get(service).cloned() {
            self.say(name, Some(&service), key, value);
        }
    }

    /// `LB_SERVICES_ORDERS_TIMEOUT`: of all ways to part it, the one whose service is known, else the one with the longest key.
    fn in_service(&mut self, name: &str, value: &str) {
        let rest = &name[SERVICE.len()..];
        let mut parts = rest.match_indices('_').map(|(at, _)| (&rest[..at], &rest[at + 1..])).filter_map(|(service, key)| {
            (!service.is_empty()).then_some(())?;
            Some((service, keys::by_variable(key).filter(|key| key.scope != Scope::Top)?))
        });
        let all: Vec<(&str, &'static Key)> = parts.by_ref().collect();
        let known = all.iter().rev().find(|(service, _)| self.services.contains_key(*service));
        match known.or_else(|| all.first()).copied() {
            Some((service, key)) => {
                let Some(service) = self.named(name, service) else { return };
                self.say(name, Some(&service), key, value);
            }
            None => self.unknown(name),
        }
    }

    fn named(&mut self, variable: &str, service: &str) -> Option<Arc<str>> {
        if let Some(known) = self.services.get(service) {
            return Some(Arc::clone(known));
        }
        if self.closed {
            let known = self.services.keys().cloned().collect::<Vec<_>>().join(", ");
            return self.wrong(variable, "services", &cut(service), &format!("one of {known}, which {LIST} lists"));
        }
        let new = self.problems.keep(checked_name(&source(variable), &service.to_ascii_lowercase().replace('_', "-")))?;
        self.services.insert(service.to_owned(), Arc::clone(&new));
        self.layer.services.push(Arc::clone(&new));
        Some(new)
    }

    fn say(&mut self, variable: &str, service: Option<&Arc<str>>, key: &'static Key, text: &str) {
        let source: Arc<str> = source(variable).into();
        let said = key.kind.parse(text).and_then(|value| self.layer.say(&source, Place::new(service, key), key.kind, &value));
        if said.is_none() {
            let value = Value::from(text);
            let problem = Problem::new(&source, shown_path(service, key.path), quoted(key.kind, &value), key.kind.allowed());
            self.problems.add(problem.suggest(suggestion(key.kind, &value).filter(|meant| !meant.starts_with('[')).as_deref()));
        }
    }

    fn unknown(&mut self, name: &str) {
        self.problems.add_with(|| {
            let aliases = ALIASES.iter().map(|(name, _)| (*name).to_owned());
            let names: Vec<String> = keys::all().iter().map(Key::variable).chain(aliases).collect();
            let meant = nearest(name, names.iter().map(String::as_str));
            Problem::new(&source(name), cut(name), "no variable of ours", "LB_ and the path of a key in capitals").suggest(meant)
        });
    }
}

fn source(variable: &str) -> String {
    format!("environment {}", cut(variable))
}
