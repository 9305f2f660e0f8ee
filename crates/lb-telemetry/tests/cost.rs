//! What a call costs where tracing is on and nobody listens, or it is not sampled: as many allocations as without.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::net::SocketAddr;
use std::sync::mpsc;

use lb_telemetry::trace::{CallLog, Sampling, Tracing};
use lb_testkit::EchoServer;
use lb_testkit::count::{CountingAllocator, allocations};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use tokio::runtime::{Builder, Runtime};
use tracing::Level;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CALLS: u64 = 300;

/// A server on a thread of its own, whose allocations do not count; it ends with the process.
fn server() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let server = EchoServer::start("s").await.unwrap();
            tell.send(server.addr()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Allocations of this thread for so many calls, once every buffer has its size.
fn allocated(server: SocketAddr, tracing: Option<Tracing>) -> u64 {
    let runtime = runtime();
    let mut builder = LbChannel::builder(format!("static:///{server}"));
    if let Some(tracing) = tracing {
        builder = builder.call_observer(tracing);
    }
    let call = async |client: &mut EchoClient<LbChannel>, calls: u64| {
        for _ in 0..calls {
            client.unary(EchoRequest::default()).await.unwrap();
        }
    };
    let mut client = runtime.block_on(async { EchoClient::new(builder.build().unwrap()) });
    runtime.block_on(call(&mut client, 100));
    allocations(|| runtime.block_on(call(&mut client, CALLS))).1
}

/// A few more may come from buffers that grow and timers that tick.
fn is_as_many(one: u64, other: u64) -> bool {
    one.abs_diff(other) < CALLS / 20
}

#[test]
fn what_is_not_traced_allocates_nothing() {
    let server = server();
    let without = allocated(server, None);
    assert!(without > CALLS, "allocations are counted");
    let log = || Tracing::new().log(CallLog::all());
    let unheard = allocated(server, Some(log()));
    assert!(is_as_many(unheard, without), "no subscriber: {unheard}, without {without}");
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::ERROR).finish();
    let uninterested = tracing::subscriber::with_default(subscriber, || allocated(server, Some(log())));
    assert!(is_as_many(uninterested, without), "a subscriber for errors: {uninterested}, without {without}");
    let subscriber = || tracing_subscriber::fmt().with_max_level(Level::INFO).with_writer(std::io::sink).finish();
    let none = Tracing::new().sampling(Sampling::ratio(0.0).unwrap());
    let unsampled = tracing::subscriber::with_default(subscriber(), || allocated(server, Some(none)));
    assert!(is_as_many(unsampled, without), "not sampled: {unsampled}, without {without}");
    let heard = tracing::subscriber::with_default(subscriber(), || allocated(server, Some(log())));
    assert!(!is_as_many(heard, without), "who listens pays: {heard}, without {without}");
}
