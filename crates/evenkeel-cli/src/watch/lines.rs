//! One line per change, for pipes and logs.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::SystemTime;

use evenkeel::EndpointKey;

use super::known::Known;
use super::known::count;
use crate::text::clean;
use crate::text::described;
use crate::text::timestamp;

/// What the last answer changed: a line for each endpoint, then one for the set; or one for a failure.
pub(super) fn lines(known: &Known, now: SystemTime) -> String {
    let now = timestamp(now);
    let mut text = String::new();
    let mut say = |mark: char, what: &str, of: &str| {
        let space = if of.is_empty() { "" } else { "  " };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{now} {mark} {}{space}{of}", clean(what));
    };
    if let Some((_, error)) = &known.failure {
        let kept = if known.answered.is_some() { format!(" (keeping {})", count(known.endpoints.len())) } else { String::new() };
        say('!', &format!("{error}{kept}"), "");
        return text;
    }
    for removed in &known.change.removed {
        say('-', removed.key().as_str(), "");
    }
    let marks: HashMap<&EndpointKey, char> =
        known.change.added.iter().map(|key| (key, '+')).chain(known.change.changed.iter().map(|key| (key, '~'))).collect();
    for endpoint in &known.endpoints {
        if let Some(mark) = marks.get(endpoint.key()) {
            say(*mark, endpoint.key().as_str(), &described(&endpoint.attributes));
        }
    }
    let note = known.note.as_deref().map(|note| format!("({})", clean(note))).unwrap_or_default();
    say('=', &count(known.endpoints.len()), &note);
    text
}
