//! Spans as a subscriber without OpenTelemetry sees them, and servers that remember headers.

use std::sync::{Arc, Mutex};

use lb_testkit::{EchoControl, EchoServer};
use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

/// Keeps what is recorded on our spans, in the order they began.
#[derive(Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Vec<Value>>>);

impl Spans {
    fn put(&self, index: u64, record: impl FnOnce(&mut dyn tracing::field::Visit)) {
        struct Fields<'a>(&'a mut Value);
        impl tracing::field::Visit for Fields<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0[field.name()] = format!("{value:?}").into();
            }
        }
        record(&mut Fields(&mut self.0.lock().unwrap()[index as usize - 1]));
    }

    /// One field of all spans.
    pub(crate) fn field(&self, name: &str) -> Vec<Option<String>> {
        self.0.lock().unwrap().iter().map(|span| span[name].as_str().map(|text| text.trim_matches('"').to_owned())).collect()
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("evenkeel")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = {
            let mut spans = self.0.lock().unwrap();
            spans.push(Value::Object(serde_json::Map::default()));
            spans.len() as u64
        };
        self.put(id, |visitor| span.record(visitor));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.put(span.into_u64(), |visitor| values.record(visitor));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An echo server that remembers the headers it got.
pub(crate) async fn recording() -> (EchoServer, EchoControl) {
    let server = EchoServer::builder().record_requests().start().await.unwrap();
    let control = server.control();
    (server, control)
}

/// What the latest call brought.
pub(crate) fn header(control: &EchoControl, name: &str) -> Option<String> {
    let head = control.last_request().expect("it got a call");
    head.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}
