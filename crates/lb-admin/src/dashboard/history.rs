//! What happened, remembered from the start of the server.
//!
//! One task follows every channel and keeps its latest [`EVENTS`] events as text. Streams read from there, at their own pace: none of them
//! holds up a channel or another stream, and one that is slow misses the oldest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_core::{LbEvent, Severity};
use lb_tonic::{LbChannel, WeakChannel};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::row::cut;
use crate::app::Shared;

/// Events of a service that are kept: what a bad minute brings, and more than anybody reads.
const EVENTS: usize = 200;

/// How soon a channel that was added is followed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One event, for people.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    /// Counts up over all services.
    pub(super) number: u64,
    /// Seconds since 1970.
    at: f64,
    kind: &'static str,
    text: Arc<str>,
    /// Whether somebody may have to do something.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bad: bool,
}

/// The latest events by service.
#[derive(Default)]
pub(super) struct History(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    latest: u64,
    services: HashMap<Arc<str>, VecDeque<Entry>>,
}

impl History {
    /// What happened at a service after the event of this number, the oldest first.
    pub(super) fn since(&self, service: &str, number: u64) -> Vec<Entry> {
        let inner = self.lock();
        let events = inner.services.get(service).into_iter().flatten();
        events.filter(|entry| entry.number > number).cloned().collect()
    }

    fn add(&self, service: &Arc<str>, event: &LbEvent) {
        let entry = |number| Entry {
            number,
            at: now(),
            kind: event.kind(),
            text: cut(&event.to_string()),
            bad: event.severity() == Severity::Warning,
        };
        let mut inner = self.lock();
        inner.latest += 1;
        let entry = entry(inner.latest);
        let events = inner.services.entry(Arc::clone(service)).or_default();
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(entry);
    }

    fn keep_only(&self, services: &HashMap<Arc<str>, Followed>) {
        self.lock().services.retain(|name, _| services.contains_key(name));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that keeps the events of a service's channel; it ends when this is dropped.
struct Followed {
    task: JoinHandle<()>,
    channel: WeakChannel,
}

impl Followed {
    fn begin(app: &Shared, name: &Arc<str>, channel: &LbChannel) -> Self {
        let task = tokio::spawn(follow(Arc::clone(app), Arc::clone(name), channel));
        Self { task, channel: channel.downgrade() }
    }

    /// Whether the service still has this channel, and not another one of its name.
    fn is_of(&self, channel: &LbChannel) -> bool {
        !self.task.is_finished() && self.channel.is(channel)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows the channels of the server until it stops.
pub(crate) async fn record(app: Shared) {
    let mut followed = HashMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick() => look(&app, &mut followed),
            () = app.stopped() => return,
        }
    }
}

/// Begins to follow what is new, and forgets what has gone. A service whose channel was replaced is still that service: what happened to it
/// before is kept.
fn look(app: &Shared, followed: &mut HashMap<Arc<str>, Followed>) {
    let services = app.services.all();
    followed.retain(|name, _| services.iter().any(|(listed, _)| listed == name));
    for (name, channel) in &services {
        if !followed.get(name).is_some_and(|known| known.is_of(channel)) {
            followed.insert(Arc::clone(name), Followed::begin(app, name, channel));
        }
    }
    app.dashboard.history.keep_only(followed);
}

/// Keeps what happens in a channel, without keeping the channel.
fn follow(app: Shared, name: Arc<str>, channel: &LbChannel) -> impl Future<Output = ()> + use<> {
    let mut events = channel.subscribe();
    async move {
        while let Some(event) = events.next().await {
            // Dozens in a second, for hours, that would push out what matters; loads are in the table.
            if !matches!(event, LbEvent::SessionMoved { .. } | LbEvent::LoadUpdated { .. }) {
                app.dashboard.history.add(&name, &event);
            }
        }
    }
}

/// Seconds since 1970, as the machine's clock has it.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64())
}
