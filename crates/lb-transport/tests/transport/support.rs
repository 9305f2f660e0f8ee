//! Servers and bodies for the tests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use lb_core::{Address, Endpoint};
use lb_transport::{
    BoxError, ConnectAttempt, ConnectError, Connection, Connector, H2Body, H2Connector, H2Transport, TransportConfig,
    TransportError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const MAX_STREAMS: u16 = 3;
pub(crate) const ANY_STREAM: u32 = (1 << 31) - 1;

/// Waits for a condition; fails the test after 10 s.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits for a future; fails the test after 10 s.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing within 10 s")
}

pub(crate) fn connector(config: TransportConfig) -> H2Connector {
    H2Connector::new(config).unwrap()
}

pub(crate) fn attempt(address: impl Into<Address>) -> ConnectAttempt {
    ConnectAttempt::new(Arc::new(Endpoint::new(address)), "orders.test", Duration::from_secs(10))
}

pub(crate) async fn connect(address: SocketAddr) -> Connection<H2Transport> {
    connect_with(TransportConfig::new(), address).await.unwrap()
}

pub(crate) async fn connect_with(config: TransportConfig, address: SocketAddr) -> Result<Connection<H2Transport>, ConnectError> {
    within(connector(config).connect(attempt(address))).await
}

pub(crate) fn post<B>(body: B) -> Request<B> {
    Request::post("/test.Echo/Call").header("te", "trailers").header("content-type", "application/grpc").body(body).unwrap()
}

/// A whole call: the data of the response and its trailers.
pub(crate) async fn call<B>(transport: &H2Transport, body: B) -> Result<(Vec<u8>, HeaderMap), TransportError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    finish(transport.send(post(body)).await?.into_body()).await
}

pub(crate) async fn finish(body: H2Body) -> Result<(Vec<u8>, HeaderMap), TransportError> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((collected.to_bytes().to_vec(), trailers))
}

/// A body of known pieces that, like tonic's, never says beforehand that it is over.
pub(crate) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    pub(crate) fn one(data: impl Into<Bytes>) -> Self {
        Self([data.into()].into())
    }

    pub(crate) fn many(data: impl IntoIterator<Item = Bytes>) -> Self {
        Self(data.into_iter().collect())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
    }
}

/// A body fed by the test; it ends when the sender is dropped.
pub(crate) struct Fed(mpsc::UnboundedReceiver<Result<Bytes, BoxError>>);

impl Fed {
    pub(crate) fn new() -> (mpsc::UnboundedSender<Result<Bytes, BoxError>>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(receiver))
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|next| next.map(|data| data.map(Frame::data)))
    }
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An h2 server that hands each request to `handler`, on its own task.
pub(crate) async fn serve<F, R>(builder: h2::server::Builder, handler: F) -> SocketAddr
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // As every gRPC server does; else small frames wait for acknowledgements.
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve_connection(builder.clone(), stream, handler.clone()));
        }
    });
    address
}

pub(crate) async fn serve_connection<S, F, R>(builder: h2::server::Builder, stream: S, handler: F)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(handler(request, respond));
    }
}

/// Answers with what it got, piece by piece, and `grpc-status: 0`.
pub(crate) async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut response = respond.send_response(Response::new(()), false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        if send_all(&mut response, data).await.is_err() {
            return;
        }
    }
    let _ = response.send_trailers(ok());
}

/// Sends data as the client's window allows.
pub(crate) async fn send_all(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match stream.capacity() {
            0 => std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap_or(Ok(0))?,
            room => room,
        };
        if room == 0 {
            return Err(h2::Reason::CANCEL.into());
        }
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

pub(crate) fn ok() -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])
}

/// A server's end of a connection, scripted frame by frame.
pub(crate) struct Raw(pub(crate) TcpStream);

/// One frame: kind, flags, stream, payload.
pub(crate) type RawFrame = (u8, u8, u32, Vec<u8>);

impl Raw {
    /// Accepts, reads the client's preface and sends SETTINGS with these values.
    pub(crate) async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Self(stream);
        let mut preface = [0; 24];
        raw.0.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.settings(settings).await;
        raw
    }

    /// A client connected to a scripted server.
    pub(crate) async fn pair(config: TransportConfig, settings: &[(u16, u32)]) -> (Self, Connection<H2Transport>) {
        let (listener, address) = listen().await;
        let (raw, connection) = tokio::join!(Self::accept(&listener, settings), connect_with(config, address));
        (raw, connection.unwrap())
    }

    pub(crate) async fn settings(&mut self, settings: &[(u16, u32)]) {
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame; `None` at the end. SETTINGS are acknowledged on the way.
    pub(crate) async fn frame(&mut self) -> Option<RawFrame> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        if kind == SETTINGS && flags & 1 == 0 {
            self.send(SETTINGS, 1, 0, &[]).await;
        }
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }

    /// The next frame of a kind; the others are dropped.
    pub(crate) async fn next(&mut self, kind: u8) -> RawFrame {
        within(async {
            loop {
                let frame = self.frame().await.expect("the client has closed");
                if frame.0 == kind {
                    return frame;
                }
            }
        })
        .await
    }

    /// The next request's stream.
    pub(crate) async fn request(&mut self) -> u32 {
        self.next(HEADERS).await.2
    }

    /// Response headers: `:status: 200`.
    pub(crate) async fn headers(&mut self, stream: u32) {
        self.send(HEADERS, 4, stream, &[0x88]).await;
    }

    /// Trailers with `grpc-status: 0`, and the end of the stream.
    pub(crate) async fn trailers(&mut self, stream: u32) {
        self.send(HEADERS, 5, stream, b"\x00\x0bgrpc-status\x010").await;
    }

    /// A whole response.
    pub(crate) async fn respond(&mut self, stream: u32) {
        self.headers(stream).await;
        self.send(DATA, 0, stream, b"reply").await;
        self.trailers(stream).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    pub(crate) async fn go_away(&mut self, last: u32, code: u32, debug: &str) {
        let payload = [&last.to_be_bytes()[..], &code.to_be_bytes(), debug.as_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// Reads to the end and says which frames came.
    pub(crate) async fn rest(&mut self) -> Vec<RawFrame> {
        within(async {
            let mut frames = Vec::new();
            while let Some(frame) = self.frame().await {
                frames.push(frame);
            }
            frames
        })
        .await
    }
}
