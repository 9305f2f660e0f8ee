//! Where each value came from.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::keys::{self, Key, Scope};
use crate::layer::shown_path;
use crate::view::{Entries, View};

/// Every key with the value that counts and who said it: for all services, and for each what is said of it alone. Secrets are hidden.
///
/// Written with `{}` it is a table of what somebody said, with `{:#}` of the defaults too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    rows: Vec<Explained>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Explained {
    /// Its path, with its service.
    pub path: String,
    /// Its value as people write it; `None` if it has none.
    pub value: Option<String>,
    /// Who said it: `file lb.yaml`, `environment LB_TIMEOUT`, `code`, `preset gateway`; `None` for a default.
    pub source: Option<String>,
    /// Who said something else that counts less, the first first.
    pub over: Vec<String>,
}

impl Explanation {
    pub(crate) fn of<'a>(entries: &Entries, services: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let top = View::new(entries, None);
        let shared = keys::all().iter().filter(|key| key.scope != Scope::Own || top.find(key).is_some());
        let mut rows: Vec<Explained> = shared.map(|key| row(top, None, key)).collect();
        for service in services {
            let view = View::new(entries, Some(service));
            let own = keys::all().iter().filter(|key| view.find(key).is_some_and(|(place, _)| place.service().is_some()));
            rows.extend(own.map(|key| row(view, Some(service), key)));
        }
        Self { rows }
    }

    /// Its rows.
    pub fn rows(&self) -> &[Explained] {
        &self.rows
    }

    /// The row of one path.
    pub fn find(&self, path: &str) -> Option<&Explained> {
        self.rows.iter().find(|row| row.path == path)
    }
}

fn row(view: View<'_>, service: Option<&Arc<str>>, key: &'static Key) -> Explained {
    let said = view.find(key).map(|(_, entry)| entry);
    let value = view.value(key).map(|value| key.kind.show(&value));
    let source = said.map(|entry| entry.source.to_string()).or_else(|| implied(view, key));
    let over = said.map(|entry| entry.over.iter().map(|source| source.to_string()).collect()).unwrap_or_default();
    Explained { path: shown_path(service, key.path), value, source, over }
}

/// Why a section is on that nobody switched on.
fn implied(view: View<'_>, key: &'static Key) -> Option<String> {
    if !key.is_switch() || !view.is_on(key.section()) {
        return None;
    }
    let set = keys::below(key.section()).find(|key| view.find(key).is_some())?;
    Some(format!("{} is set", set.path))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 3]> = self.rows.iter().filter(|row| f.alternate() || row.source.is_some()).map(cells).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for [path, value, source] in &rows {
            writeln!(f, "{path:first$}  {value:second$}  {source}")?;
        }
        Ok(())
    }
}

fn cells(row: &Explained) -> [String; 3] {
    let source = row.source.as_deref().unwrap_or("default");
    let source = if row.over.is_empty() { source.to_owned() } else { format!("{source}, over {}", row.over.join(", ")) };
    [row.path.clone(), row.value.clone().unwrap_or_else(|| "-".to_owned()), source]
}
