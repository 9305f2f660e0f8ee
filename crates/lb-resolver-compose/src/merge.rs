//! The decisions of a merge, without time or IO.

use std::collections::HashSet;
use std::collections::VecDeque;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolverUpdate;
use lb_core::ServiceConfigUpdate;

use crate::Answer;

/// What every source last said, and what is to be passed on.
#[derive(Debug)]
pub(crate) struct Merge {
    parts: Vec<Part>,
    open: bool,
    /// As last passed on, but for words about failures.
    passed: Option<ResolverUpdate>,
    out: VecDeque<Answer>,
}

/// One source. It has spoken once it has an answer or an error.
#[derive(Debug)]
struct Part {
    name: String,
    last: Option<ResolverUpdate>,
    error: Option<ResolveError>,
}

impl Merge {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let parts = names.into_iter().map(|name| Part { name, last: None, error: None }).collect();
        Self { parts, open: false, passed: None, out: VecDeque::new() }
    }

    /// What to pass on next. At most one answer and one error per source wait here.
    pub(crate) fn pop(&mut self) -> Option<Answer> {
        self.out.pop_front()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes what a source says.
    pub(crate) fn take(&mut self, at: usize, answer: Answer) {
        let part = &mut self.parts[at];
        let was = part.error.take();
        match answer {
            Ok(update) => {
                part.last = Some(update);
                if self.open {
                    self.pass_on_set(was.is_some());
                }
            }
            Err(error) => {
                let told = was.is_some_and(|was| same(&was, &error));
                part.error = Some(error);
                if self.open {
                    self.pass_on_error(at, told);
                }
            }
        }
        if !self.open && self.parts.iter().all(Part::has_spoken) {
            self.open();
        }
    }

    /// Stops waiting for those who have not spoken.
    pub(crate) fn open(&mut self) {
        self.open = true;
        if !self.resolved() {
            self.out.extend(self.all_errors().map(Err));
            return;
        }
        self.pass_on_set(false);
        self.out.extend(self.parts.iter().filter_map(|part| part.error.clone()).map(Err));
    }

    fn resolved(&self) -> bool {
        self.parts.iter().any(|part| part.last.is_some())
    }

    /// `recovered` is worth telling even if the set is the same.
    fn pass_on_set(&mut self, recovered: bool) {
        let union = self.union();
        if !recovered && self.passed.as_ref() == Some(&union) {
            return;
        }
        let notes = union.note.as_deref().map(str::to_owned).into_iter().chain(self.parts.iter().filter_map(Part::trouble));
        let note = joined(notes);
        self.out.push_back(Ok(match note {
            Some(note) => union.clone().with_note(note),
            None => union.clone(),
        }));
        self.passed = Some(union);
    }

    fn pass_on_error(&mut self, at: usize, told: bool) {
        if !self.resolved() {
            self.out.extend(self.all_errors().map(Err));
        } else if !told {
            self.out.extend(self.parts[at].error.clone().map(Err));
        }
    }

    /// Every endpoint of every source, the first one of a key counting.
    fn union(&self) -> ResolverUpdate {
        let sets = || self.parts.iter().filter_map(|part| part.last.as_ref());
        let mut seen = HashSet::new();
        let endpoints = sets().flat_map(|set| &set.endpoints).filter(|endpoint| seen.insert(endpoint.key())).cloned().collect();
        let config = sets().map(|set| &set.service_config).find(|config| **config != ServiceConfigUpdate::Absent);
        let update = ResolverUpdate::new(endpoints).with_service_config(config.cloned().unwrap_or_default());
        match joined(sets().filter_map(|set| set.note.as_deref().map(str::to_owned))) {
            Some(note) => update.with_note(note),
            None => update,
        }
    }

    /// One error for all of them. "Not found" needs every source to say so: one that could not be asked may know the service.
    fn all_errors(&self) -> Option<ResolveError> {
        let errors: Vec<&ResolveError> = self.parts.iter().filter_map(|part| part.error.as_ref()).collect();
        let certain = errors.len() == self.parts.len();
        let kind = match errors.iter().map(|error| error.kind()).find(|kind| *kind != ResolveErrorKind::NotFound) {
            Some(kind) => kind,
            None if certain => ResolveErrorKind::NotFound,
            None => ResolveErrorKind::Unavailable,
        };
        match errors[..] {
            [] => None,
            [only] if only.kind() == kind => Some(only.clone()),
            [first, ..] => {
                let message = joined(errors.iter().map(|error| error.message().to_owned()))?;
                Some(ResolveError::new(kind, message).with_source(first.clone()))
            }
        }
    }
}

impl Part {
    fn has_spoken(&self) -> bool {
        self.last.is_some() || self.error.is_some()
    }

    /// What people should know when picks fail.
    fn trouble(&self) -> Option<String> {
        match (&self.error, &self.last) {
            (Some(error), Some(_)) => Some(format!("{}, its last answer stands", error.message())),
            (Some(error), None) => Some(error.message().to_owned()),
            (None, None) => Some(format!("{}: no answer yet", self.name)),
            (None, Some(_)) => None,
        }
    }
}

fn same(one: &ResolveError, other: &ResolveError) -> bool {
    one.kind() == other.kind() && one.message() == other.message()
}

fn joined(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests;
