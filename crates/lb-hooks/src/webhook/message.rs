//! What is sent.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lb_core::{EndpointKey, Severity};
use serde::Serialize;
use serde_json::Value;

use super::queue::{Batch, Entry};

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    lost: u64,
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct Event<'a> {
    time: f64,
    channel: &'a str,
    kind: &'static str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a EndpointKey>,
    message: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    detail: Value,
}

impl<'a> From<&'a Entry> for Event<'a> {
    fn from(Entry { time, channel, event }: &'a Entry) -> Self {
        Self {
            // Milliseconds are as fine as anybody's clock agrees with another's.
            time: since_1970(*time).as_millis() as f64 / 1000.0,
            channel,
            kind: event.kind(),
            severity: event.severity(),
            endpoint: event.endpoint(),
            message: event.to_string(),
            detail: detail(serde_json::to_value(event).unwrap_or_default()),
        }
    }
}

/// The data of an event without its kind, which stands beside it.
fn detail(event: Value) -> Value {
    match event {
        Value::Object(tagged) => tagged.into_iter().next().map(|(_, detail)| detail).unwrap_or_default(),
        _ => Value::Null,
    }
}

pub(super) fn body(batch: &Batch) -> Result<Bytes, serde_json::Error> {
    let message = Message { r#type: "evenkeel.events", lost: batch.lost, events: batch.entries.iter().map(Event::from).collect() };
    serde_json::to_vec(&message).map(Bytes::from)
}

/// Nothing, on a clock that is before 1970.
pub(super) fn since_1970(time: SystemTime) -> std::time::Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
