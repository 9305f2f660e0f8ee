//! The calls to one member, each bounded in time and size.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Request;
use tonic::Status;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::failure::Cause;
use crate::failure::Failure;
use crate::target::Range;
use crate::wire::AuthenticateRequest;
use crate::wire::AuthenticateResponse;
use crate::wire::LeaseGrantRequest;
use crate::wire::LeaseGrantResponse;
use crate::wire::LeaseKeepAliveResponse;
use crate::wire::LeaseRequest;
use crate::wire::Nothing;
use crate::wire::PutRequest;
use crate::wire::RangeRequest;
use crate::wire::RangeResponse;
use crate::wire::WatchCreateRequest;
use crate::wire::WatchRequest;
use crate::wire::WatchRequestUnion;
use crate::wire::WatchResponse;

/// The answers of a call that stays open. Dropping it ends both directions: left to itself, the transport would keep sending a request
/// that never ends, and with it the stream and the connection.
#[derive(Debug)]
pub(crate) struct Answers<R> {
    answers: Streaming<R>,
    _request_ends: oneshot::Sender<()>,
}

impl<R> Answers<R> {
    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<R, Status> {
        self.answers.message().await?.ok_or_else(|| Status::unavailable("etcd ended it"))
    }
}

/// A connection to one member, with the token of the user. Dropping it and its streams closes it.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    grpc: Grpc<Channel>,
    member: Arc<str>,
    token: Option<AsciiMetadataValue>,
    timeout: Duration,
}

impl Rpc {
    pub(crate) fn new(channel: Channel, member: Arc<str>, timeout: Duration, max_message_bytes: usize) -> Self {
        let grpc = Grpc::new(channel).max_decoding_message_size(max_message_bytes);
        Self { grpc, member, token: None, timeout }
    }

    pub(crate) fn member(&self) -> &Arc<str> {
        &self.member
    }

    /// Gets a token and uses it from here on. An etcd without authentication has none to give and asks for none.
    pub(crate) async fn log_in(&mut self, name: &str, password: &str) -> Result<(), Failure> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let answer: Result<AuthenticateResponse, _> = self.unary("/etcdserverpb.Auth/Authenticate", request).await;
        let token = match answer {
            Ok(answer) => answer.token,
            Err(failure) if failure.message.contains("authentication is not enabled") => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let mut token: AsciiMetadataValue =
            token.parse().map_err(|_| Failure::new(Cause::Malformed, "the token is no header value").at(&self.member))?;
        token.set_sensitive(true);
        self.token = Some(token);
        Ok(())
    }

    /// At most `limit` keys from `start` on, as of `revision`; 0 is the present one, and then a majority vouches for it.
    pub(crate) async fn range(&self, start: Vec<u8>, end: &[u8], limit: i64, revision: i64) -> Result<RangeResponse, Failure> {
        let request = RangeRequest { key: start, range_end: end.to_vec(), limit, revision };
        self.unary("/etcdserverpb.KV/Range", request).await
    }

    pub(crate) async fn put(&self, key: &str, value: Vec<u8>, lease: i64) -> Result<(), Failure> {
        let request = PutRequest { key: key.as_bytes().to_vec(), value, lease };
        self.unary("/etcdserverpb.KV/Put", request).await.map(|Nothing {}| ())
    }

    /// A new lease.
    pub(crate) async fn grant(&self, ttl: Duration) -> Result<i64, Failure> {
        let request = LeaseGrantRequest { ttl: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX) };
        let answer: LeaseGrantResponse = self.unary("/etcdserverpb.Lease/LeaseGrant", request).await?;
        Ok(answer.id)
    }

    /// Ends a lease and removes its keys.
    pub(crate) async fn revoke(&self, lease: i64) -> Result<(), Failure> {
        self.unary("/etcdserverpb.Lease/LeaseRevoke", LeaseRequest { id: lease }).await.map(|Nothing {}| ())
    }

    /// Keeps a lease alive once; false if there is no such lease.
    pub(crate) async fn keep_alive(&self, lease: i64) -> Result<bool, Failure> {
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let call = async {
            let mut answers: Answers<LeaseKeepAliveResponse> = self.open(path, LeaseRequest { id: lease }).await?;
            answers.next().await
        };
        Ok(self.bounded("lease keepalive", call).await?.ttl > 0)
    }

    /// Every change in the range from `revision` on. The first answer, which says that the watch is made, is yet to come.
    pub(crate) async fn watch(&self, range: &Range, revision: i64) -> Result<Answers<WatchResponse>, Failure> {
        let create = WatchCreateRequest {
            key: range.start.clone().into_bytes(),
            range_end: range.end.clone(),
            start_revision: revision,
            progress_notify: true,
            fragment: true,
        };
        let request = WatchRequest { request_union: Some(WatchRequestUnion::Create(create)) };
        self.bounded("watch", self.open("/etcdserverpb.Watch/Watch", request)).await
    }

    /// What a watch of this member ended with.
    pub(crate) fn failure(&self, asked: &str, status: &Status) -> Failure {
        Failure::of(asked, status).at(&self.member)
    }

    /// Bounds what waits for an answer.
    pub(crate) async fn bounded<T>(&self, asked: &str, call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
        match timeout(self.timeout, call).await {
            Ok(outcome) => outcome.map_err(|status| self.failure(asked, &status)),
            Err(_) => {
                let message = format!("{asked}: no answer within {:?}", self.timeout);
                Err(Failure::new(Cause::Unavailable, message).at(&self.member))
            }
        }
    }

    async fn unary<M, R>(&self, path: &'static str, message: M) -> Result<R, Failure>
    where
        M: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let asked = path.rsplit('/').next().unwrap_or(path);
        let call = async {
            let mut grpc = self.grpc.clone();
            until_ready(&mut grpc).await?;
            let answer = grpc.unary(self.request(message), PathAndQuery::from_static(path), ProstCodec::<M, R>::default()).await?;
            Ok(answer.into_inner())
        };
        self.bounded(asked, call).await
    }

    /// A call that stays open behind its only request.
    async fn open<M, R>(&self, path: &'static str, message: M) -> Result<Answers<R>, Status>
    where
        M: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        until_ready(&mut grpc).await?;
        let (_request_ends, ends) = oneshot::channel::<()>();
        let open_until_dropped = stream::once(ends).filter_map(|_| ready(None));
        let mut request = self.request(stream::iter([message]).chain(open_until_dropped));
        // A member that is cut off from the others must say so instead of staying silent.
        request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        let answer = grpc.streaming(request, PathAndQuery::from_static(path), ProstCodec::<M, R>::default()).await?;
        Ok(Answers { answers: answer.into_inner(), _request_ends })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

async fn until_ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| {
        let mut message = error.to_string();
        crate::failure::push_sources(&mut message, &error);
        Status::unavailable(message)
    })
}
