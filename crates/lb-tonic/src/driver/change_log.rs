//! One line of log per change, under the `tracing` target `evenkeel`.
//!
//! A line has the fields `channel` (its target), `event` (its kind, [`LbEvent::kind`]) and, where the event has them, `endpoint`, `from`,
//! `to` and `reason`; its message is the event for people. Its level is the event's [`severity`](LbEvent::severity).
//!
//! Bound: [`MOST_LINES`] of a channel in a second; what is beyond is counted, and the count is told in a line of its own. Without a
//! subscriber an event costs one comparison.

use std::time::{Duration, Instant};

use lb_core::{LbEvent, Severity};
use serde_json::Value;
use tracing::Level;

/// Lines of one channel in a second. People read far fewer; a set of 10 000 endpoints that comes or goes at once must not fill a disk.
const MOST_LINES: u32 = 1_000;

/// How long lines are counted together.
const WINDOW: Duration = Duration::from_secs(1);

/// An event at one of the levels: each is a place in the code of its own, which a subscriber may want or not.
macro_rules! write_line {
    ($level:expr, $channel:expr, $event:expr, $fields:expr) => {
        tracing::event!(
            target: "evenkeel",
            $level,
            channel = $channel,
            event = $event.kind(),
            endpoint = $fields.endpoint(),
            from = $fields.text("from"),
            to = $fields.text("to"),
            reason = $fields.reason(),
            "{}",
            $event
        )
    };
}

/// Writes the changes of one channel.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl ChangeLog {
    /// Writes a line, if anybody reads it and there were not too many of late.
    pub(super) fn write(&mut self, channel: &str, event: &LbEvent, now: Instant) {
        let level = level(event);
        if !is_read(level) || !self.admits(channel, now) {
            return;
        }
        let fields = Fields::of(event);
        match level {
            Level::WARN => write_line!(Level::WARN, channel, event, fields),
            Level::INFO => write_line!(Level::INFO, channel, event, fields),
            _ => write_line!(Level::DEBUG, channel, event, fields),
        }
    }

    fn admits(&mut self, channel: &str, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            (self.since, self.written) = (Some(now), 0);
            match std::mem::take(&mut self.left_out) {
                0 => {}
                lines => tracing::warn!(target: "evenkeel", channel, lines, "{lines} lines of changes were left out"),
            }
        }
        if self.written == MOST_LINES {
            if self.left_out == 0 {
                tracing::warn!(target: "evenkeel", channel, "more than {MOST_LINES} changes within a second: further ones are counted only");
            }
            self.left_out += 1;
            return false;
        }
        self.written += 1;
        true
    }
}

/// Whether anybody reads lines of this level.
fn is_read(level: Level) -> bool {
    match level {
        Level::WARN => tracing::enabled!(target: "evenkeel", Level::WARN),
        Level::INFO => tracing::enabled!(target: "evenkeel", Level::INFO),
        _ => tracing::enabled!(target: "evenkeel", Level::DEBUG),
    }
}

/// How much a change matters to who runs the program.
fn level(event: &LbEvent) -> Level {
    match event.severity() {
        Severity::Warning => Level::WARN,
        Severity::Info => Level::INFO,
        Severity::Debug => Level::DEBUG,
    }
}

/// What stands in an event, read from its data form, so that kinds that are yet to come have their fields too.
struct Fields {
    content: Value,
    /// Whether content that is no more than a text names an endpoint; else it says why.
    names_endpoint: bool,
}

impl Fields {
    fn of(event: &LbEvent) -> Self {
        // A variant with content is an object of one member: the content by the variant's name.
        let content = match serde_json::to_value(event) {
            Ok(Value::Object(members)) => members.into_iter().next().map(|(_, content)| content),
            _ => None,
        };
        Self { content: content.unwrap_or_default(), names_endpoint: event.endpoint().is_some() }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.content.get(name)?.as_str()
    }

    fn endpoint(&self) -> Option<&str> {
        self.text("endpoint").or_else(|| self.content.as_str().filter(|_| self.names_endpoint))
    }

    fn reason(&self) -> Option<&str> {
        self.text("reason").or_else(|| self.content.as_str().filter(|_| !self.names_endpoint))
    }
}

#[cfg(test)]
#[path = "change_log_tests.rs"]
mod tests;
