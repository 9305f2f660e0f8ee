//! What is said to a peer, and what it answers.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// One message each way.
    Unary,
    /// Messages of a bidirectional stream, one out and one back in turn; each pair counts as a call.
    Stream,
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unary => "unary",
            Self::Stream => "stream",
        })
    }
}

/// What a peer shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How calls are made.
    pub kind: CallKind,
    /// How many at once.
    pub concurrency: usize,
    /// For how long.
    pub time: Duration,
    /// Bytes of payload of each message.
    pub payload: usize,
}

impl Load {
    /// As a line, without its end.
    pub(super) fn line(&self) -> Value {
        json!({
            "kind": self.kind.to_string(),
            "concurrency": self.concurrency,
            "millis": u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX),
            "payload": self.payload,
        })
    }
}

/// Unary calls that begin at random, so many a second, whatever becomes of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLoad {
    /// Calls a second.
    pub rate: u32,
    /// A call that takes longer is given up: it failed, and counts among the latencies with as long as it took.
    pub deadline: Duration,
    /// For how long.
    pub time: Duration,
    /// Bytes of payload of each message.
    pub payload: usize,
}

impl OpenLoad {
    /// As a line, without its end: an order of unary calls with two fields more. Latencies of the answer are from when a call should have begun.
    pub(super) fn line(&self) -> Value {
        let mut line = Load { kind: CallKind::Unary, concurrency: 1, time: self.time, payload: self.payload }.line();
        line["rate"] = json!(self.rate);
        line["deadline_ms"] = json!(u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX));
        line
    }
}

/// What a peer measured. Latencies are of calls that succeeded, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Calls that succeeded; at least one.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// How long it took; more than 0.
    pub seconds: f64,
    /// CPU time of the whole process meanwhile.
    pub cpu_seconds: f64,
    /// Half of the calls took no longer.
    pub p50_us: f64,
    /// Nine of ten took no longer.
    pub p90_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1000 took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// A line that is not a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Not a JSON object.
    #[error("a reply is a JSON object, not {line:?}")]
    NotAnObject {
        /// The line.
        line: String,
    },
    /// A field is missing or has no possible value.
    #[error("`{field}` is {value}; allowed is {allowed}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it is, `null` if it is missing.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
}

impl Measured {
    /// Reads a reply. Fields it does not know are ignored.
    pub fn parse(line: &str) -> Result<Self, ReplyError> {
        let object = match serde_json::from_str(line) {
            Ok(Value::Object(object)) => Value::Object(object),
            _ => return Err(ReplyError::NotAnObject { line: line.chars().take(200).collect() }),
        };
        let field = |name| Field { name, value: &object[name] };
        let reply = Self {
            calls: field("calls").count(1, "a count of at least 1")?,
            failed: field("failed").count(0, "a count")?,
            seconds: field("seconds").number()?,
            cpu_seconds: field("cpu_seconds").number()?,
            p50_us: field("p50_us").number()?,
            p90_us: field("p90_us").number()?,
            p99_us: field("p99_us").number()?,
            p999_us: field("p999_us").number()?,
            max_us: field("max_us").number()?,
        };
        match reply.seconds > 0.0 {
            true => Ok(reply),
            false => Err(field("seconds").refused("a number above 0")),
        }
    }

    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Microseconds of CPU per call.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.calls as f64
    }
}

struct Field<'a> {
    name: &'static str,
    value: &'a Value,
}

impl Field<'_> {
    fn count(&self, least: u64, allowed: &'static str) -> Result<u64, ReplyError> {
        self.value.as_u64().filter(|value| *value >= least).ok_or_else(|| self.refused(allowed))
    }

    fn number(&self) -> Result<f64, ReplyError> {
        let number = self.value.as_f64().filter(|value| value.is_finite() && *value >= 0.0);
        number.ok_or_else(|| self.refused("a number of at least 0"))
    }

    fn refused(&self, allowed: &'static str) -> ReplyError {
        let value: String = self.value.to_string().chars().take(80).collect();
        ReplyError::Field { field: self.name, value, allowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_load_is_unary_calls_and_two_fields_more() {
        let load = OpenLoad { rate: 2000, deadline: Duration::from_secs(1), time: Duration::from_millis(300), payload: 100 };
        let expected = json!({"kind": "unary", "concurrency": 1, "millis": 300, "payload": 100, "rate": 2000, "deadline_ms": 1000});
        assert_eq!(load.line(), expected);
    }
}
