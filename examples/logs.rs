//! Log lines as a collector wants them: JSON, one per call that fails or is sampled, and one per change of a channel. Two servers answer, one of them is
//! killed, and calls with a wish that nobody meets fail.
//! Run it with `cargo run --example logs --features otel`.

#[path = "support/mod.rs"]
mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel::telemetry::trace::{CallLog, Tracing};
use evenkeel::{LbChannel, PickOptions};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::Value;
use tonic::Request;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use support::{Failure, key, servers, serves, target, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // Form, time and place are the subscriber's to choose; so is which lines are wanted.
    let written = Written::default();
    let copy = written.clone();
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || copy.clone());
    let wanted = Targets::new().with_target("evenkeel", LevelFilter::INFO).with_target("evenkeel::calls", LevelFilter::INFO);
    tracing_subscriber::registry().with(lines).with(wanted).init();

    let mut servers = servers(2).await?;
    // Every failure and one success in five, without spans. Lines per change need nothing but the subscriber.
    let tracing = Tracing::new().without_spans().log(CallLog::one_in(5));
    let channel = LbChannel::builder(target(&servers)).call_observer(tracing).build()?;
    channel.exit_idle();
    let (s0, s1) = (key(&servers[0]), key(&servers[1]));
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;

    let mut client = EchoClient::new(channel.clone());
    for _ in 0..10 {
        client.unary(EchoRequest::default()).await?;
    }
    servers[1].kill().await;
    until(&channel, "s1 is out", |endpoints| !serves(endpoints, &s1)).await?;
    let mut impossible = Request::new(EchoRequest::default());
    impossible.extensions_mut().insert(PickOptions::new().require("gpu"));
    assert!(client.unary(impossible).await.is_err());

    // What a collector reads: each line is an object of its own.
    let lines = written.lines()?;
    let of = |target: &str| lines.iter().filter(|line| line["target"] == target).count();
    assert_eq!(of("evenkeel::calls"), 3, "two of ten successes, and the failure");
    assert!(of("evenkeel") > 0, "and what changed");
    Ok(())
}

/// Standard output, and a copy of it for the checks above.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn lines(&self) -> Result<Vec<Value>, serde_json::Error> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        io::stdout().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
