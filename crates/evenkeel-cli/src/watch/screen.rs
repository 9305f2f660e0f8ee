//! A table on a terminal, drawn anew over itself.
//!
//! What is drawn never has more lines than the terminal nor lines wider than it, because what has scrolled away or wrapped cannot be
//! drawn over. Only two commands are used: to the beginning of an earlier line, and clear from here on.

use std::collections::HashSet;

use evenkeel::Attributes;
use evenkeel::Endpoint;
use evenkeel::EndpointKey;

use super::known::Known;
use super::known::count;
use crate::table::Column;
use crate::table::cut;
use crate::table::lay_out;
use crate::table::wrap;
use crate::text;

/// The mark of a row and the space behind it.
const MARGIN: usize = 2;

/// Lines an error or a note may take from the table.
const MOST_WORDS: usize = 3;

/// Remembers what it drew over which lines.
#[derive(Debug)]
pub(super) struct Screen {
    target: String,
    drawn: usize,
}

impl Screen {
    pub(super) fn new(target: &str) -> Self {
        Self { target: text::clean(target), drawn: 0 }
    }

    /// The text that puts what is known in the place of what was drawn before, on a terminal of this many columns and lines.
    pub(super) fn draw(&mut self, known: &Known, size: (usize, usize)) -> String {
        let lines = self.lines(known, size);
        let back = if self.drawn == 0 { String::new() } else { format!("\x1b[{}F\x1b[J", self.drawn) };
        self.drawn = lines.len();
        lines.into_iter().fold(back, |text, line| text + &line + "\n")
    }

    /// The same on a cleared screen: after a change of size nobody knows where the old lines went.
    pub(super) fn draw_anew(&mut self, known: &Known, size: (usize, usize)) -> String {
        self.drawn = 0;
        format!("\x1b[H\x1b[2J{}", self.draw(known, size))
    }

    fn lines(&self, known: &Known, (columns, height): (usize, usize)) -> Vec<String> {
        let mut lines = vec![self.title(known)];
        lines.extend(below_title(known).into_iter().flat_map(|text| wrap(&text, columns, MOST_WORDS)));
        if !known.endpoints.is_empty() {
            // A line each for the cursor and for what is left out.
            let room = height.saturating_sub(lines.len() + 3);
            lines.extend(rows(known, columns, room));
        }
        let removed: Vec<String> = known.change.removed.iter().map(|endpoint| text::clean(endpoint.key().as_str())).collect();
        if !removed.is_empty() {
            lines.push(format!("- {}", removed.join(", ")));
        }
        lines.truncate(height.saturating_sub(1).max(1));
        lines.iter().map(|line| cut(line, columns)).collect()
    }

    fn title(&self, known: &Known) -> String {
        let target = &self.target;
        match known.answered {
            Some(at) => format!("{target}: {} at {}", count(known.endpoints.len()), clock(&text::timestamp(at))),
            None if known.failure.is_some() => format!("{target}: not resolved"),
            None => format!("{target}: resolving"),
        }
    }
}

/// A failure, or a note that came with the set.
fn below_title(known: &Known) -> Option<String> {
    match (&known.failure, &known.note) {
        (Some((since, error)), _) => {
            Some(format!("! since {}: {}", clock(&text::timestamp(*since)), text::clean(&error.to_string())))
        }
        (None, Some(note)) => Some(format!("({})", text::clean(note))),
        (None, None) => None,
    }
}

/// `12:34:56Z` of a timestamp: a day is longer than anybody watches.
fn clock(timestamp: &str) -> String {
    format!("{}Z", timestamp.get(11..19).unwrap_or(timestamp))
}

fn rows(known: &Known, width: usize, room: usize) -> Vec<String> {
    let shown = &known.endpoints[..known.endpoints.len().min(room)];
    let (mut lines, hidden) = lay_out(&columns(shown), Some(width.saturating_sub(MARGIN)));
    let (added, changed): (HashSet<_>, HashSet<_>) = (known.change.added.iter().collect(), known.change.changed.iter().collect());
    let mark = |key: &EndpointKey| match key {
        // Everything is new at first; a table full of marks says nothing.
        key if added.contains(key) && added.len() < known.endpoints.len() => '+',
        key if changed.contains(key) => '~',
        _ => ' ',
    };
    let marks = std::iter::once(' ').chain(shown.iter().map(|endpoint| mark(endpoint.key())));
    lines = lines.into_iter().zip(marks).map(|(line, mark)| format!("{mark} {line}")).collect();
    let rest = known.endpoints.len() - shown.len();
    let more = [
        (rest > 0).then(|| format!("{rest} more endpoints")),
        (hidden == 1).then(|| "1 more column".to_owned()),
        (hidden > 1).then(|| format!("{hidden} more columns")),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    if !more.is_empty() {
        lines.push(format!("  … {}", more.join(", ")));
    }
    lines
}

/// The columns that have something to say, the most important first.
fn columns(endpoints: &[Endpoint]) -> Vec<Column> {
    let default = Attributes::default();
    let of = |say: &dyn Fn(&Attributes) -> String| {
        endpoints.iter().map(|endpoint| say(&endpoint.attributes)).collect::<Vec<_>>().into_iter()
    };
    let number = |number: Option<String>| number.unwrap_or_default();
    let priorities = endpoints.iter().any(|endpoint| endpoint.attributes.priority != default.priority);
    let mut columns = vec![
        Column::words("ENDPOINT", endpoints.iter().map(|endpoint| endpoint.key().to_string())),
        Column::numbers("WEIGHT", of(&|it| it.weight.to_string())),
        Column::words("HEALTH", of(&|it| text::health(it.health).to_owned())),
        Column::numbers("PRIO", of(&|it| if priorities { it.priority.to_string() } else { String::new() })),
        Column::words("LOCALITY", of(&|it| text::locality(&it.locality))),
        Column::words("ID", of(&|it| it.id.as_deref().unwrap_or_default().to_owned())),
        Column::words("CAPABILITIES", of(&text::capabilities)),
        Column::numbers("CAPACITY", of(&|it| number(it.capacity.map(|capacity| capacity.to_string())))),
        Column::numbers("COST", of(&|it| number(it.cost.map(|cost| cost.to_string())))),
        Column::words("METADATA", of(&metadata)),
    ];
    columns.retain(|column| !column.is_empty());
    columns
}

fn metadata(attributes: &Attributes) -> String {
    attributes.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
