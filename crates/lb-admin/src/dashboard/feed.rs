//! What one stream tells: everything at first, then what has changed.

use std::sync::Arc;

use lb_core::EndpointKey;
use lb_tonic::ChannelStats;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ROWS_PER_TICK;
use super::changes::{Changes, Known};
use super::history::{self, Entry};
use super::row::{Row, Told};
use crate::app::Shared;

/// One reader's knowledge.
pub(super) struct Feed {
    app: Shared,
    may_change: bool,
    /// The service whose endpoints are told; `None` while there is none.
    service: Option<Arc<str>>,
    services: Known<Arc<str>, Map<String, Value>>,
    rows: Known<Name, Row>,
    /// The number of the last event told.
    seen: u64,
    begun: bool,
    /// Ticks that pass until the next look.
    rest: usize,
}

/// A key that lends its text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Name(EndpointKey);

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.0.as_str()
    }
}

/// What is told at once.
#[derive(Serialize)]
struct Message<'a> {
    now: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    beginning: Option<Beginning<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Changes<Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Changes<Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Entry>,
}

/// What only a snapshot says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Beginning<'a> {
    service: Option<&'a str>,
    may_change: bool,
    version: &'static str,
}

impl Feed {
    /// For somebody who wants to see this service, or the first there is.
    pub(super) fn new(app: Shared, may_change: bool, service: Option<Arc<str>>) -> Self {
        let (services, rows) = (Known::default(), Known::default());
        Self { app, may_change, service, services, rows, seen: 0, begun: false, rest: 0 }
    }

    /// Waits until the server stops. Cancel safe.
    pub(super) async fn stopped(&self) {
        self.app.stopped().await;
    }

    /// What is to be told at this tick, as a server-sent event: empty if nothing is; `None` when the service has gone, and with it the
    /// stream.
    pub(super) fn tick(&mut self) -> Option<String> {
        if self.rest > 0 {
            self.rest -= 1;
            return Some(String::new());
        }
        let channels = self.app.services.all();
        if let (None, Some((first, _))) = (&self.service, channels.first()) {
            // What was told of no service was another beginning.
            (self.service, self.begun) = (Some(Arc::clone(first)), false);
        }
        // Each channel is let go of at once: what is looked at must not live longer for it.
        let stats: Vec<(Arc<str>, ChannelStats)> = channels.into_iter().map(|(name, channel)| (name, channel.stats())).collect();
        if self.service.as_ref().is_some_and(|wanted| !stats.iter().any(|(name, _)| name == wanted)) {
            return None;
        }
        self.rest = stats.iter().map(|(_, stats)| stats.endpoints.len()).sum::<usize>() / ROWS_PER_TICK;
        Some(self.tell(stats))
    }

    fn tell(&mut self, stats: Vec<(Arc<str>, ChannelStats)>) -> String {
        let (mut rows, mut services) = (Vec::new(), Vec::new());
        for (name, mut stats) in stats {
            let endpoints = std::mem::take(&mut stats.endpoints);
            if self.service.as_ref() == Some(&name) {
                rows = endpoints.iter().map(|info| (Name(info.key.clone()), Row::new(info))).collect();
            }
            services.push((Arc::clone(&name), summary(&name, &stats)));
        }
        let events = self.service.as_ref().map_or_else(Vec::new, |name| self.app.dashboard.history.since(name, self.seen));
        self.seen = events.last().map_or(self.seen, |entry| entry.number);
        let first = !std::mem::replace(&mut self.begun, true);
        let service = self.service.as_deref();
        let message = Message {
            now: history::now(),
            beginning: first.then_some(Beginning { service, may_change: self.may_change, version: env!("CARGO_PKG_VERSION") }),
            services: self.services.update(services, changed),
            endpoints: self.rows.update(rows, |row, before| serde_json::to_value(Told { row, before }).unwrap_or_default()),
            events,
        };
        // Text, numbers and maps with text as keys always are JSON, and JSON has no line feed.
        let data = serde_json::to_string(&message).unwrap_or_default();
        format!("event: {}\ndata: {data}\n\n", if first { "snapshot" } else { "change" })
    }
}

/// A service's numbers without those of its endpoints.
fn summary(name: &str, stats: &ChannelStats) -> Map<String, Value> {
    let mut map = match serde_json::to_value(stats) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    map.remove("endpoints");
    map.insert("name".to_owned(), name.into());
    map
}

/// The fields that are not as they were, and the name.
fn changed(now: &Map<String, Value>, before: Option<&Map<String, Value>>) -> Map<String, Value> {
    let same = |name: &str, value: &Value| before.and_then(|before| before.get(name)) == Some(value);
    now.iter()
        .filter(|(name, value)| *name == "name" || !same(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
