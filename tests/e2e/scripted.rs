//! A server whose every call is scripted, and remembered.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use lb_testkit::pb::echo_server::{Echo, EchoServer as EchoGrpc};
use lb_testkit::pb::{EchoReply, EchoRequest};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

/// What a server does with a call.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Reply,
    /// With nothing before it.
    Fail(Status),
    /// After this long.
    FailAfter(Duration, Status),
    /// After so many messages of the request.
    FailAt(u32, Status),
    /// After response headers.
    FailLate(Status),
    Hang,
}

/// One call as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) metadata: MetadataMap,
    pub(crate) at: Instant,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.metadata.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

type Script = Arc<dyn Fn(usize) -> Act + Send + Sync>;

#[derive(Clone)]
struct Service {
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
    active: Arc<AtomicUsize>,
}

/// Dropping it ends it.
pub(crate) struct Scripted {
    addr: SocketAddr,
    service: Service,
    serving: JoinHandle<()>,
}

/// A failure with a pushback of these values.
pub(crate) fn pushing_back(code: Code, values: &[&str]) -> Status {
    let mut metadata = MetadataMap::new();
    for value in values {
        metadata.append("grpc-retry-pushback-ms", value.parse().unwrap());
    }
    Status::with_metadata(code, "pushed back", metadata)
}

pub(crate) fn unavailable() -> Act {
    Act::Fail(Status::unavailable("not now"))
}

impl Scripted {
    /// Calls are numbered from 0.
    pub(crate) async fn start(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = Service { script: Arc::new(script), seen: Arc::default(), active: Arc::default() };
        let grpc = EchoGrpc::new(service.clone()).max_decoding_message_size(usize::MAX);
        let serving = tonic::transport::Server::builder().add_service(grpc).serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { addr, service, serving }
    }

    /// Does these things in turn, and then replies.
    pub(crate) async fn doing(acts: impl IntoIterator<Item = Act>) -> Self {
        let acts: Vec<Act> = acts.into_iter().collect();
        Self::start(move |call| acts.get(call).cloned().unwrap_or(Act::Reply)).await
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.service.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.service.seen.lock().unwrap().len()
    }

    /// Calls it is working on.
    pub(crate) fn active(&self) -> usize {
        self.service.active.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Active(Arc<AtomicUsize>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

impl Service {
    fn begin(&self, metadata: &MetadataMap) -> (Act, Active) {
        self.active.fetch_add(1, Ordering::SeqCst);
        let active = Active(Arc::clone(&self.active));
        let mut seen = self.seen.lock().unwrap();
        let call = seen.len();
        seen.push(Seen { metadata: metadata.clone(), at: Instant::now() });
        ((self.script)(call), active)
    }

    async fn act(act: Act) -> Result<(), Status> {
        match act {
            Act::Reply => Ok(()),
            Act::Fail(status) | Act::FailAt(_, status) | Act::FailLate(status) => Err(status),
            Act::FailAfter(delay, status) => {
                tokio::time::sleep(delay).await;
                Err(status)
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Echo for Service {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let (act, _active) = self.begin(request.metadata());
        Self::act(act).await?;
        Ok(Response::new(EchoReply { payload: request.into_inner().payload, received: 1, ..EchoReply::default() }))
    }

    type ServerStreamStream = Replies;

    async fn server_stream(&self, request: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        let (act, active) = self.begin(request.metadata());
        if let Act::FailLate(status) = act {
            return Ok(Response::new(Box::pin(stream::once(async move { Err(status) }))));
        }
        Self::act(act).await?;
        let replies = (0..request.into_inner().count).map(|_| Ok(EchoReply::default()));
        let replies = stream::iter(replies.collect::<Vec<_>>());
        Ok(Response::new(Box::pin(stream::unfold((replies, active), |(mut replies, active)| async move {
            Some((futures_util::StreamExt::next(&mut replies).await?, (replies, active)))
        }))))
    }

    async fn client_stream(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<EchoReply>, Status> {
        let (act, _active) = self.begin(request.metadata());
        let (mut requests, mut received, mut last) = (request.into_inner(), 0, EchoRequest::default());
        let until = if let Act::FailAt(messages, _) = act { messages } else { u32::MAX };
        while received < until {
            match requests.message().await? {
                Some(request) => (last, received) = (request, received + 1),
                None => break,
            }
        }
        Self::act(act).await?;
        Ok(Response::new(EchoReply { payload: last.payload, received, ..EchoReply::default() }))
    }

    type BidiStream = Replies;

    async fn bidi(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<Replies>, Status> {
        let (act, active) = self.begin(request.metadata());
        // One reply before a late failure.
        let status = match act {
            Act::FailLate(status) => Some(status),
            act => {
                Self::act(act).await?;
                None
            }
        };
        let state = (request.into_inner(), active, status, 0);
        Ok(Response::new(Box::pin(stream::unfold(state, |(mut requests, active, status, received)| async move {
            if let (Some(status), 1..) = (&status, received) {
                return Some((Err(status.clone()), (requests, active, None, received)));
            }
            let request = requests.message().await.ok().flatten()?;
            let reply = EchoReply { payload: request.payload, received: received + 1, ..EchoReply::default() };
            Some((Ok(reply), (requests, active, status, received + 1)))
        }))))
    }
}
