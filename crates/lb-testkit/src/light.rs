//! A server with little work of its own, for benchmarks of clients.
//!
//! A full server costs more per call than the clients we compare, so the server would be what is measured. This one
//! answers every call with the body it was sent and `grpc-status: 0`, straight on the h2 crate, in threads of its own. It knows one method,
//! `Bidi`, whose bytes come back as they arrive; any other call is answered when the request is complete. No limits and no errors.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Windows large enough never to hold a benchmark's calls back.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// A running light server; dropping it stops its threads.
#[derive(Debug)]
pub struct LightServer {
    addrs: Vec<SocketAddr>,
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl LightServer {
    /// Listens on `ports` free ports of 127.0.0.1, shared out over `threads` single-threaded runtimes. Both count at least as 1.
    pub fn start(ports: usize, threads: usize) -> io::Result<Self> {
        let (ports, threads) = (ports.max(1), threads.max(1));
        let mut server = Self { addrs: Vec::new(), threads: Vec::new() };
        let mut shares: Vec<Vec<std::net::TcpListener>> = (0..threads).map(|_| Vec::new()).collect();
        for port in 0..ports {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            server.addrs.push(listener.local_addr()?);
            shares[port % threads].push(listener);
        }
        for share in shares {
            server.threads.push(spawn(share)?);
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }
}

impl Drop for LightServer {
    fn drop(&mut self) {
        for (stop, thread) in self.threads.drain(..) {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// Starts a thread with a runtime; returns when it listens.
fn spawn(listeners: Vec<std::net::TcpListener>) -> io::Result<(oneshot::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = oneshot::channel();
    let (listening, ready) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("light-server".into()).spawn(move || {
        runtime.block_on(async {
            let started: io::Result<()> = listeners.into_iter().try_for_each(|listener| {
                tokio::spawn(accept(TcpListener::from_std(listener)?));
                Ok(())
            });
            let _ = listening.send(started);
            let _ = stopped.await;
        });
    })?;
    ready.recv().map_err(io::Error::other)??;
    Ok((stop, thread))
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream));
    }
}

async fn serve(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await?;
    let head = response();
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        // The body mostly came with the head, so that one poll answers; only the rest is worth a task.
        let mut answer = Box::pin(answer(request, respond, head.clone()));
        if answer.as_mut().now_or_never().is_none() {
            tokio::spawn(answer);
        }
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, head: Response<()>) -> Result<(), h2::Error> {
    let streams = request.uri().path().ends_with("/Bidi");
    let mut body = request.into_body();
    let whole = if streams { None } else { Some(read(&mut body).await?) };
    let mut send = respond.send_response(head, false)?;
    match whole {
        Some(whole) => send.send_data(whole, false)?,
        None => echo(&mut body, &mut send).await?,
    }
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}

/// Gives back every piece as it comes, but for the empty one a client may end with: h2's clients close a connection on which too many came.
async fn echo(body: &mut RecvStream, send: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if !data.is_empty() {
            send.send_data(data, false)?;
        }
    }
    Ok(())
}

/// The whole body; without a copy if it came in one piece.
async fn read(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = Bytes::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if whole.is_empty() {
            whole = data;
        } else {
            let mut joined = BytesMut::from(whole);
            joined.extend_from_slice(&data);
            whole = joined.freeze();
        }
    }
    Ok(whole)
}

fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
