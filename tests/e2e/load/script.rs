//! Services that report load as a test tells them to, and remember what they were asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Ready, ready};
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response};
use lb_orca::{OrcaLoadReport, OrcaLoadReportRequest, ProbeReply, ProbeRequest};
use lb_testkit::EchoServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService};
use tonic::transport::Server;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// What a stream of reports, or of answers, does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    /// Sends one report and stays open; answers every probe.
    Serve,
    /// Sends so many reports and ends with OK.
    EndAfter(usize),
    /// Opens, and never says anything.
    Silent,
    /// There is no such service.
    Unimplemented,
}

/// A server with both services; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Script(Arc<State>);

#[derive(Debug)]
struct State {
    act: Act,
    asked: Mutex<Vec<Duration>>,
    streams: AtomicUsize,
    probes: AtomicUsize,
    open: AtomicUsize,
}

impl Script {
    pub(crate) fn new(act: Act) -> Self {
        let (asked, [streams, probes, open]) = (Mutex::default(), std::array::from_fn(|_| AtomicUsize::new(0)));
        Self(Arc::new(State { act, asked, streams, probes, open }))
    }

    /// An echo server with the scripted services; ends when dropped.
    pub(crate) async fn start(&self) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (_, echo) = EchoServer::builder().service();
        let router = Server::builder().add_service(echo).add_service(Reports(self.clone())).add_service(Probes(self.clone()));
        let task = tokio::spawn(async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        Scripted { addr, task }
    }

    /// The intervals asked for so far, one per stream of reports.
    pub(crate) fn intervals(&self) -> Vec<Duration> {
        self.0.asked.lock().unwrap().clone()
    }

    /// Streams of probes so far.
    pub(crate) fn probe_streams(&self) -> usize {
        self.0.streams.load(Ordering::SeqCst)
    }

    /// Probes so far.
    pub(crate) fn probes(&self) -> usize {
        self.0.probes.load(Ordering::SeqCst)
    }

    /// Streams of either kind that are open now.
    pub(crate) fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    fn opened<M: Send + 'static>(&self, messages: impl Stream<Item = Result<M, Status>> + Send + 'static) -> Begun<M> {
        if self.0.act == Act::Unimplemented {
            return ready(Err(Status::unimplemented("not here")));
        }
        self.0.open.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(self.clone());
        ready(Ok(tonic::Response::new(messages.map(move |message| (message, &counted).0).boxed())))
    }
}

struct Counted(Script);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;
type Begun<M> = Ready<Result<tonic::Response<Messages<M>>, Status>>;

#[derive(Clone)]
struct Reports(Script);

impl ServerStreamingService<OrcaLoadReportRequest> for Reports {
    type Response = OrcaLoadReport;
    type ResponseStream = Messages<OrcaLoadReport>;
    type Future = Begun<OrcaLoadReport>;

    fn call(&mut self, request: tonic::Request<OrcaLoadReportRequest>) -> Self::Future {
        self.0.0.asked.lock().unwrap().push(request.into_inner().interval());
        let report = OrcaLoadReport { cpu_utilization: 0.5, ..OrcaLoadReport::default() };
        let reports = |count| stream::iter(vec![Ok(report.clone()); count]);
        match self.0.0.act {
            Act::EndAfter(count) => self.0.opened(reports(count)),
            Act::Serve => self.0.opened(reports(1).chain(stream::pending())),
            Act::Silent | Act::Unimplemented => self.0.opened(stream::pending()),
        }
    }
}

#[derive(Clone)]
struct Probes(Script);

impl StreamingService<ProbeRequest> for Probes {
    type Response = ProbeReply;
    type ResponseStream = Messages<ProbeReply>;
    type Future = Begun<ProbeReply>;

    fn call(&mut self, request: tonic::Request<Streaming<ProbeRequest>>) -> Self::Future {
        self.0.0.streams.fetch_add(1, Ordering::SeqCst);
        let script = self.0.clone();
        let answer = move |probe: Result<ProbeRequest, Status>| {
            script.0.probes.fetch_add(1, Ordering::SeqCst);
            let reply = probe.map(|probe| ProbeReply { id: probe.id, in_flight: 3, latency_nanos: 1_000_000 });
            ready((script.0.act == Act::Serve).then_some(reply))
        };
        self.0.opened(request.into_inner().filter_map(answer))
    }
}

macro_rules! serve {
    ($service:ident, $name:literal, $method:ident) => {
        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<Request<Body>> for $service {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

            fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Self::Future {
                let method = self.clone();
                Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).$method(method, request).await) })
            }
        }
    };
}

serve!(Reports, "xds.service.orca.v3.OpenRcaService", server_streaming);
serve!(Probes, "evenkeel.probe.v1.Probe", streaming);
