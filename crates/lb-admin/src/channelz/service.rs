//! The service as tonic takes it.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::answers;
use super::registry::Registry;

/// What tonic's router takes.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The largest request: two numbers, and what later versions may add.
const MOST_REQUEST: usize = 4 * 1024;

/// `grpc.channelz.v1.Channelz`, for any tonic server: `Server::builder().add_service(channelz.service())`.
///
/// It says which servers the program calls and how that goes, to everybody who may call it: serve it where only operators come.
#[derive(Debug, Clone)]
pub struct ChannelzService {
    registry: Arc<Registry>,
}

impl ChannelzService {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    fn answer<B, Q, A>(&self, request: Request<B>, method: Method<Q, A>) -> Answer
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let registry = Arc::clone(&self.registry);
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MOST_REQUEST);
            Ok(grpc.unary(Bound { registry, method }, request).await)
        })
    }
}

impl NamedService for ChannelzService {
    const NAME: &'static str = "grpc.channelz.v1.Channelz";
}

impl<B> Service<Request<B>> for ChannelzService
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let path = request.uri().path();
        match path.strip_prefix('/').and_then(|path| path.strip_prefix(Self::NAME)) {
            Some("/GetTopChannels") => self.answer(request, answers::top_channels),
            Some("/GetServers") => self.answer(request, answers::servers),
            Some("/GetServer" | "/GetServerSockets") => self.answer(request, answers::server),
            Some("/GetChannel") => self.answer(request, answers::channel),
            Some("/GetSubchannel") => self.answer(request, answers::subchannel),
            Some("/GetSocket") => self.answer(request, answers::socket),
            _ => Box::pin(ready(Ok(Status::unimplemented("no such method").into_http()))),
        }
    }
}

type Method<Q, A> = fn(&Registry, Q) -> Result<A, Status>;

/// A method and what it looks at.
struct Bound<Q, A> {
    registry: Arc<Registry>,
    method: Method<Q, A>,
}

impl<Q, A> UnaryService<Q> for Bound<Q, A> {
    type Response = A;
    type Future = Ready<Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        ready((self.method)(&self.registry, request.into_inner()).map(tonic::Response::new))
    }
}
