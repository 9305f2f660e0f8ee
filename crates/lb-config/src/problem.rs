//! What is wrong with a configuration: everything at once.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong: where, what, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Problem {
    /// Where it was said: `file lb.yaml`, `environment LB_TIMEOUT`, `code`.
    pub source: String,
    /// The path of the field, such as `services.orders.retry.maxAttempts`; empty for a whole file.
    pub path: String,
    /// What was found there, cut where it is long, and never a secret.
    pub value: String,
    /// What is allowed there.
    pub allowed: String,
    /// What was perhaps meant.
    pub suggestion: Option<String>,
}

impl Problem {
    pub(crate) fn new(source: &str, path: impl Into<String>, value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { source: source.to_owned(), path: path.into(), value: value.into(), allowed: allowed.into(), suggestion: None }
    }

    pub(crate) fn suggest(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, path, value, allowed, suggestion } = self;
        match path.as_str() {
            "" => write!(f, "{source}: {value}, allowed is {allowed}")?,
            path => write!(f, "{source}: {path} is {value}, allowed is {allowed}")?,
        }
        suggestion.as_ref().map_or(Ok(()), |meant| write!(f, "; did you mean {meant}?"))
    }
}

/// Everything that is wrong with a configuration, up to [`MOST`](Self::MOST) of it; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    list: Vec<Problem>,
    /// How many more there are.
    more: usize,
}

impl Problems {
    /// More than this nobody reads, and a hostile file has millions.
    pub const MOST: usize = 100;

    /// Each of them, by source in the order of the layers.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are beyond those of [`iter`](Self::iter).
    pub fn more(&self) -> usize {
        self.more
    }

    /// What was gathered, or nothing if all is well.
    pub(crate) fn check(gathered: Gathered) -> Result<(), Self> {
        if gathered.list.is_empty() { Ok(()) } else { Err(Self { list: gathered.list, more: gathered.more }) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { list: vec![problem], more: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let between = if index == 0 { "" } else { "\n" };
            write!(f, "{between}{problem}")?;
        }
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}

impl std::error::Error for Problems {}

/// Problems while they are being found.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    list: Vec<Problem>,
    more: usize,
}

impl Gathered {
    pub(crate) fn add(&mut self, problem: Problem) {
        if self.list.len() < Problems::MOST { self.list.push(problem) } else { self.more += 1 }
    }

    /// Adds a problem that takes a while to put into words, if anybody will read it.
    pub(crate) fn add_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.list.len() < Problems::MOST { self.list.push(problem()) } else { self.more += 1 }
    }

    /// Adds those that are not known yet.
    pub(crate) fn add_new(&mut self, others: Self) {
        self.more += others.more;
        let new: Vec<Problem> = others.list.into_iter().filter(|problem| !self.list.contains(problem)).collect();
        new.into_iter().for_each(|problem| self.add(problem));
    }

    /// The value, or `None` and one problem more.
    pub(crate) fn keep<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.add(problem)).ok()
    }
}
