//! Connections: taking them, serving them, and not being held by any.
//!
//! HTTP/1.1 only: every tool speaks it, and a server for people at night should be small. What a client may take is bounded: how many
//! connections there are, how long it takes for a request's head and body, and how long it reads nothing of an answer. A connection that
//! is one too many is told so and closed at once, so that the one who is refused knows.

mod patient;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use crate::app::{App, Shared};
use patient::Patient;

/// How long requests in progress have when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// How long what a client still sends is read after the last answer, so that it gets to read that answer: a connection closed with unread
/// bytes is reset, and takes the answer along.
const LINGER: Duration = Duration::from_secs(2);

/// How long nothing is accepted after accepting failed: most often the process has no more file descriptors, and asking at once again
/// would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request's head may have this many bytes, and an answer is buffered up to this many; the smallest hyper allows is 8 KiB.
const BUFFER: usize = 16 * 1024;

/// So many are told at once that they are too many; beyond it connections are closed without a word.
const REFUSALS: usize = 16;

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: 85\r\n\
retry-after: 1\r\nconnection: close\r\n\r\n{\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"too many connections are open\"}\n";

/// Serves until the app stops, and then until its connections have ended.
pub(crate) async fn run(listener: TcpListener, router: Router, app: Shared) {
    let places = Arc::new(Semaphore::new(app.limits.connections.max(1)));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut connections = JoinSet::new();
    let mut stopped = pin!(app.stopped());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let (router, app) = (router.clone(), Arc::clone(&app));
                        connections.spawn(async move {
                            serve(stream, peer, router, &app).await;
                            drop(place);
                        });
                    } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                        connections.spawn(async move {
                            refuse(stream).await;
                            drop(place);
                        });
                    }
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, app: &App) {
    // Without it answers are later, not other.
    let _ = stream.set_nodelay(true);
    let limits = &app.limits;
    let io = TokioIo::new(Patient::new(stream, limits.write));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        Service::call(&mut router.clone(), request.map(Body::new)).boxed()
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(BUFFER);
    let mut connection = builder.serve_connection(io, service);
    let mut stopped = pin!(app.stopped());
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = &mut stopped, if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    // After an error there is nobody to read an answer, or nothing that can be written.
    if ended.is_ok() {
        let _ = timeout(LINGER, linger(connection.into_parts().io.into_inner())).await;
    }
}

/// Tells somebody that there is no place.
async fn refuse(stream: TcpStream) {
    // A new connection has room for so little; if not, nobody waits for it.
    if stream.try_write(FULL).is_ok() {
        let _ = timeout(LINGER, linger(stream)).await;
    }
}

/// Says that there is no more, and reads what still comes, to no purpose but that the client can read first.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let mut unread = [0; 4096];
    if io.shutdown().await.is_ok() {
        while io.read(&mut unread).await.is_ok_and(|count| count > 0) {}
    }
}
