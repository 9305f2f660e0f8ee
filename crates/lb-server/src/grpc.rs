//! What both services have in common: one method, and a stream of answers.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::Response;
use tonic::Status;
use tonic::body::Body;

/// What tonic's router takes.
pub(crate) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// Messages of the server.
pub(crate) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// A method that begins to answer at once.
pub(crate) type Begun<M> = Ready<Result<tonic::Response<Messages<M>>, Status>>;

pub(crate) fn begin<M>(messages: impl Stream<Item = Result<M, Status>> + Send + 'static) -> Begun<M> {
    std::future::ready(Ok(tonic::Response::new(Box::pin(messages))))
}

/// The answer to a method there is not.
pub(crate) fn unimplemented() -> Answer {
    Box::pin(std::future::ready(Ok(Status::unimplemented("no such method").into_http())))
}
