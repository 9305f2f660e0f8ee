//! What the tests of traces and logs share: traced servers on real sockets, patience, and lines of log read back.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod spans;

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_telemetry::trace::{TraceContext, TraceLayer, Tracing};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::echo_server::{Echo, EchoServer as EchoGrpc};
use lb_testkit::pb::{EchoReply, EchoRequest};
use lb_testkit::{EchoControl, EchoServer};
use lb_tonic::{LbChannel, LbChannelBuilder};
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Far more than anything here takes; a test that needs it all hangs.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A server that takes up contexts; ends with it.
pub(crate) struct Traced<C = EchoControl> {
    pub(crate) addr: SocketAddr,
    pub(crate) control: C,
    task: JoinHandle<()>,
}

impl<C> Drop for Traced<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An echo server.
pub(crate) async fn echo(name: &str, layer: TraceLayer) -> Traced {
    let (control, service) = EchoServer::builder().name(name).service();
    serve(Server::builder().layer(layer).add_service(service), control).await
}

/// A server that asks another one.
pub(crate) async fn middle(next: LbChannel, layer: TraceLayer) -> Traced<Arc<Mutex<Vec<Option<TraceContext>>>>> {
    let middle = Middle { next: EchoClient::new(next), seen: Arc::default() };
    let seen = Arc::clone(&middle.seen);
    serve(Server::builder().layer(layer).add_service(EchoGrpc::new(middle)), seen).await
}

async fn serve<L, C>(router: Router<L>, control: C) -> Traced<C>
where
    L: tower_layer::Layer<tonic::service::Routes> + Clone + Send + 'static,
    L::Service: tower_service::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<lb_telemetry::trace::TraceBody<tonic::body::Body>>,
        > + Clone
        + Send
        + 'static,
    <L::Service as tower_service::Service<http::Request<tonic::body::Body>>>::Future: Send,
    <L::Service as tower_service::Service<http::Request<tonic::body::Body>>>::Error:
        Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true));
    let addr = incoming.local_addr().unwrap();
    let task = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    Traced { addr, control, task }
}

/// Answers with what the next one says, and remembers the context it worked in.
struct Middle {
    next: EchoClient<LbChannel>,
    seen: Arc<Mutex<Vec<Option<TraceContext>>>>,
}

type Never = Pin<Box<dyn tokio_stream::Stream<Item = Result<EchoReply, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for Middle {
    type ServerStreamStream = Never;
    type BidiStream = Never;

    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        self.seen.lock().unwrap().push(TraceContext::current());
        tracing::info!(target: "test", "asked");
        self.next.clone().unary(request.into_inner()).await
    }

    async fn server_stream(&self, _: Request<EchoRequest>) -> Result<Response<Never>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn client_stream(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<EchoReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn bidi(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<Never>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A channel over these, in order, whose calls are traced.
pub(crate) fn builder<'a>(addrs: impl IntoIterator<Item = &'a SocketAddr>, tracing: Tracing) -> LbChannelBuilder {
    let addrs: Vec<String> = addrs.into_iter().map(SocketAddr::to_string).collect();
    LbChannel::builder(format!("static:///{}", addrs.join(","))).call_observer(tracing)
}

/// Waits until all its endpoints are READY.
pub(crate) async fn ready(builder: LbChannelBuilder) -> LbChannel {
    let channel = builder.build().unwrap();
    channel.exit_idle();
    until("all are READY", || {
        let totals = channel.stats().totals;
        totals.endpoints > 0 && totals.ready == totals.endpoints
    })
    .await;
    channel
}

pub(crate) async fn unary(channel: &LbChannel, request: EchoRequest) -> Result<Response<EchoReply>, Status> {
    soon("a unary call", EchoClient::new(channel.clone()).unary(request)).await
}

/// Lines of JSON that a subscriber has written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Writes what is of this level or above it, from this thread, as long as the guard is there.
    pub(crate) fn collect(level: Level) -> (Self, DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level).with_writer(lines.clone());
        (lines, tracing::subscriber::set_default(subscriber.finish()))
    }

    /// Those of one target so far.
    pub(crate) fn of(&self, target: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
        lines.filter(|line| line["target"] == target).collect()
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
