//! What is written of changes, read back.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use lb_core::{ConnectivityState, EndpointKey};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn taken(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What `work` writes at this level and those above.
    fn of(level: Level, work: impl FnOnce()) -> Vec<Value> {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
        tracing::subscriber::with_default(subscriber.with_writer(lines.clone()).finish(), work);
        lines.taken()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn state(from: ConnectivityState, to: ConnectivityState, reason: Option<&str>) -> LbEvent {
    LbEvent::SubchannelState { endpoint: EndpointKey::from("10.0.0.1:1"), from, to, reason: reason.map(Into::into) }
}

fn without_time(mut line: Value) -> Value {
    line.as_object_mut().unwrap().remove("timestamp").expect("every line has its time");
    line
}

#[test]
fn a_change_is_one_line_with_its_fields() {
    use ConnectivityState::{Connecting, Ready, TransientFailure};
    let events = [
        LbEvent::EndpointAdded(EndpointKey::from("10.0.0.1:1")),
        state(Connecting, TransientFailure, Some("connection refused")),
        state(TransientFailure, Ready, None),
        LbEvent::ResolverFailed("no answer".into()),
        LbEvent::ResolverRecovered,
    ];
    let write_all = || events.iter().for_each(|event| ChangeLog::default().write("dns:///orders", event, Instant::now()));
    let lines: Vec<Value> = Lines::of(Level::DEBUG, write_all).into_iter().map(without_time).collect();
    let line = |level: &str, event: &str, more: Value, message: &str| {
        let mut line =
            json!({"target": "evenkeel", "channel": "dns:///orders", "level": level, "event": event, "message": message});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let endpoint = |more: Value| {
        let mut endpoint = json!({"endpoint": "10.0.0.1:1"});
        endpoint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        endpoint
    };
    let down = endpoint(json!({"from": "CONNECTING", "to": "TRANSIENT_FAILURE", "reason": "connection refused"}));
    let back = endpoint(json!({"from": "TRANSIENT_FAILURE", "to": "READY"}));
    let expected = [
        line("DEBUG", "endpoint_added", endpoint(json!({})), "endpoint 10.0.0.1:1 added"),
        line("WARN", "subchannel_state", down, "endpoint 10.0.0.1:1 CONNECTING -> TRANSIENT_FAILURE: connection refused"),
        line("INFO", "subchannel_state", back, "endpoint 10.0.0.1:1 TRANSIENT_FAILURE -> READY"),
        line("WARN", "resolver_failed", json!({"reason": "no answer"}), "resolver failed, last good set stands: no answer"),
        line("INFO", "resolver_recovered", json!({}), "resolver answers again"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(Lines::of(Level::INFO, write_all).len(), 4, "what is not wanted is not written");
    assert_eq!(Lines::of(Level::ERROR, write_all).len(), 0);
}

#[test]
fn a_hostile_name_stays_within_its_line() {
    let event = LbEvent::EndpointAdded(EndpointKey::from("a\n{\"level\":\"ERROR\"}\u{1b}[31m\0"));
    let lines = Lines::of(Level::DEBUG, || ChangeLog::default().write("t", &event, Instant::now()));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["endpoint"], "a\n{\"level\":\"ERROR\"}\u{1b}[31m\0");
    assert_eq!(lines[0]["level"], "DEBUG");
}

#[test]
fn a_flood_is_cut_off_and_counted() {
    let (event, start) = (LbEvent::ResolverRecovered, Instant::now());
    let lines = Lines::of(Level::INFO, || {
        let mut log = ChangeLog::default();
        (0..10_000).for_each(|_| log.write("t", &event, start));
        log.write("t", &event, start + WINDOW);
    });
    let told: Vec<&Value> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(lines.len() - told.len(), MOST_LINES as usize + 1);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["lines"], 10_000 - MOST_LINES);
}
