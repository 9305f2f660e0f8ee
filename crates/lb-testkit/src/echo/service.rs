//! The echo service itself.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use super::control::{Active, EchoControl};
use crate::pb::echo_server::Echo;
use crate::pb::{EchoReply, EchoRequest};

/// Serves calls as its control says.
#[derive(Debug, Clone)]
pub(super) struct EchoService(pub(super) EchoControl);

type ReplyStream = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

impl EchoService {
    /// Counts the call in and lets the server's own fault and latency act on it.
    async fn begin(&self, metadata: &MetadataMap) -> Result<Active, Status> {
        let active = self.0.enter(metadata);
        let fault = self.0.fault().await;
        pause(self.0.think()).await;
        match fault {
            None => Ok(active),
            Some(code) => Err(Status::new(code, format!("{} was told to fail", self.0.name()))),
        }
    }

    fn reply(&self, request: &EchoRequest, received: u32) -> EchoReply {
        EchoReply { payload: request.payload.clone(), server: self.0.name().to_owned(), calls: self.0.calls(), received }
    }

    /// What this one request asks for: a delay, then a reply or a failure.
    async fn answer(&self, request: &EchoRequest, received: u32) -> Result<EchoReply, Status> {
        pause(Duration::from_millis(request.delay_ms.into())).await;
        match request.fail_with {
            0 => Ok(self.reply(request, received)),
            code => Err(Status::new(i32::try_from(code).map_or(Code::Unknown, Code::from), "the request asked to fail")),
        }
    }
}

#[tonic::async_trait]
impl Echo for EchoService {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let _active = self.begin(request.metadata()).await?;
        self.answer(request.get_ref(), 1).await.map(Response::new)
    }

    type ServerStreamStream = ReplyStream;

    async fn server_stream(&self, request: Request<EchoRequest>) -> Result<Response<ReplyStream>, Status> {
        let active = self.begin(request.metadata()).await?;
        let (service, request) = (self.clone(), request.into_inner());
        let replies = stream::unfold((active, service, request, 0_u32), |(active, service, request, sent)| async move {
            if sent >= request.count.max(u32::from(request.fail_with != 0)) {
                return None;
            }
            let reply = service.answer(&request, sent + 1).await;
            // A failure is the last item: past the count, whatever it was.
            let sent = if reply.is_err() { u32::MAX } else { sent + 1 };
            Some((reply, (active, service, request, sent)))
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn client_stream(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<EchoReply>, Status> {
        let _active = self.begin(request.metadata()).await?;
        let mut requests = request.into_inner();
        let mut last = EchoRequest::default();
        let mut received = 0;
        while let Some(request) = requests.message().await? {
            received += 1;
            last = request;
        }
        self.answer(&last, received).await.map(Response::new)
    }

    type BidiStream = ReplyStream;

    async fn bidi(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<ReplyStream>, Status> {
        let active = self.begin(request.metadata()).await?;
        let (service, requests) = (self.clone(), request.into_inner());
        let replies = stream::unfold(Some((active, service, requests, 0_u32)), |state| async move {
            let (active, service, mut requests, received) = state?;
            let request = match requests.message().await {
                Ok(request) => request?,
                Err(status) => return Some((Err(status), None)),
            };
            match service.answer(&request, received + 1).await {
                Ok(reply) => Some((Ok(reply), Some((active, service, requests, received + 1)))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// Sleeping for zero would still give the timer a turn; most servers here have no latency at all.
async fn pause(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}
