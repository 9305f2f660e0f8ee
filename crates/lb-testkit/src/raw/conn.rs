//! One connection, as a script sees it.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::{ACK, END_HEADERS, END_STREAM, Frame, header_block, kind};

/// The client's connection preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One accepted connection.
#[derive(Debug)]
pub struct RawConn {
    stream: TcpStream,
    index: u64,
    /// Whether pings are answered while listening; true unless changed.
    pub answer_pings: bool,
    /// Whether settings are acknowledged while listening; true unless changed.
    pub ack_settings: bool,
    /// Whether the peer may go on sending after its window is used up; true unless changed.
    pub give_credit: bool,
}

/// Something the peer sent that concerns a script.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// The head of a call.
    Headers {
        /// Its stream.
        stream: u32,
        /// Whether it is the whole request.
        end: bool,
    },
    /// A part of a body.
    Data {
        /// Its stream.
        stream: u32,
        /// The bytes.
        data: Bytes,
        /// Whether it is the last.
        end: bool,
    },
    /// RST_STREAM.
    Reset {
        /// Its stream.
        stream: u32,
        /// The error code.
        code: u32,
    },
    /// PING; answered already, if pings are.
    Ping,
    /// GOAWAY with this error code.
    GoAway(u32),
}

impl RawConn {
    pub(super) fn new(stream: TcpStream, index: u64) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, index, answer_pings: true, ack_settings: true, give_credit: true }
    }

    /// Which connection of its server this is, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Writes bytes one at a time, with this pause before each.
    pub async fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            tokio::time::sleep(pause).await;
            self.write(&[*byte]).await?;
        }
        Ok(())
    }

    /// Writes a frame.
    pub async fn send(&mut self, frame: Frame) -> io::Result<()> {
        self.write(&frame.encode()).await
    }

    /// Reads the client's preface; an error if it is anything else.
    pub async fn preface(&mut self) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface).await?;
        if preface == PREFACE { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "not an HTTP/2 preface")) }
    }

    /// Reads the preface and sends these settings.
    pub async fn handshake(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        self.preface().await?;
        self.settings(settings).await
    }

    /// Sends settings, the first time or later.
    pub async fn settings(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let mut payload = BytesMut::new();
        for (id, value) in settings {
            payload.put_u16(*id);
            payload.put_u32(*value);
        }
        self.send(Frame { kind: kind::SETTINGS, flags: 0, stream: 0, payload: payload.freeze() }).await
    }

    /// Reads the next frame, whatever it is. Not cancel safe.
    pub async fn next_frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; Frame::HEAD];
        self.stream.read_exact(&mut head).await?;
        let (length, frame) = Frame::head(head);
        let mut payload = BytesMut::zeroed(length);
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame { payload: payload.freeze(), ..frame })
    }

    /// Listens until the peer says something that matters, doing what politeness asks meanwhile. Not cancel safe.
    pub async fn heard(&mut self) -> io::Result<Heard> {
        loop {
            let frame = self.next_frame().await?;
            let (stream, end) = (frame.stream, frame.ends_stream());
            match frame.kind {
                kind::SETTINGS if frame.flags & ACK == 0 && self.ack_settings => self.ack(frame).await?,
                kind::PING if frame.flags & ACK == 0 => {
                    if self.answer_pings {
                        self.ack(frame).await?;
                    }
                    return Ok(Heard::Ping);
                }
                kind::HEADERS => return Ok(Heard::Headers { stream, end }),
                kind::DATA => {
                    self.credit(stream, frame.payload.len()).await?;
                    return Ok(Heard::Data { stream, data: frame.payload, end });
                }
                kind::RST_STREAM => return Ok(Heard::Reset { stream, code: word(&frame.payload, 0) }),
                kind::GOAWAY => return Ok(Heard::GoAway(word(&frame.payload, 4))),
                _ => {}
            }
        }
    }

    /// Listens until a request is complete; yields its stream. Not cancel safe.
    pub async fn next_call(&mut self) -> io::Result<u32> {
        loop {
            match self.heard().await? {
                Heard::Headers { stream, end: true } | Heard::Data { stream, end: true, .. } => return Ok(stream),
                _ => {}
            }
        }
    }

    /// Listens, and answers nothing but pings, until the peer leaves.
    pub async fn drain(&mut self) -> io::Result<()> {
        let mut waste = [0; 4096];
        while self.stream.read(&mut waste).await? > 0 {}
        Ok(())
    }

    /// Sends a header block.
    pub async fn headers(&mut self, stream: u32, headers: &[(&str, &str)], end: bool) -> io::Result<()> {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(Frame { kind: kind::HEADERS, flags, stream, payload: header_block(headers) }).await
    }

    /// Sends the headers every good gRPC answer begins with.
    pub async fn begin(&mut self, stream: u32) -> io::Result<()> {
        self.headers(stream, &[(":status", "200"), ("content-type", "application/grpc")], false).await
    }

    /// Sends DATA as it is.
    pub async fn data(&mut self, stream: u32, data: &[u8], end: bool) -> io::Result<()> {
        let flags = if end { END_STREAM } else { 0 };
        self.send(Frame { kind: kind::DATA, flags, stream, payload: Bytes::copy_from_slice(data) }).await
    }

    /// Sends one gRPC message, uncompressed.
    pub async fn message(&mut self, stream: u32, message: &[u8]) -> io::Result<()> {
        let mut data = BytesMut::with_capacity(5 + message.len());
        data.put_u8(0);
        // Messages of tests are far below 4 GiB.
        data.put_u32(message.len() as u32);
        data.put_slice(message);
        self.data(stream, &data, false).await
    }

    /// Sends trailers with this gRPC code.
    pub async fn trailers(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.headers(stream, &[("grpc-status", &code.to_string())], true).await
    }

    /// Answers a call completely: headers, this message, OK. An empty message is every protobuf message's default.
    pub async fn reply(&mut self, stream: u32, message: &[u8]) -> io::Result<()> {
        self.begin(stream).await?;
        self.message(stream, message).await?;
        self.trailers(stream, 0).await
    }

    /// Ends a call with one header block and no body.
    pub async fn trailers_only(&mut self, stream: u32, code: u32, message: &str) -> io::Result<()> {
        let code = code.to_string();
        let headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", &code), ("grpc-message", message)];
        self.headers(stream, &headers, true).await
    }

    /// Sends RST_STREAM with this error code.
    pub async fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.send(Frame { kind: kind::RST_STREAM, flags: 0, stream, payload: words(&[code]) }).await
    }

    /// Sends GOAWAY.
    pub async fn goaway(&mut self, last_stream: u32, code: u32, debug: &[u8]) -> io::Result<()> {
        let mut payload = BytesMut::from(&words(&[last_stream, code])[..]);
        payload.put_slice(debug);
        self.send(Frame { kind: kind::GOAWAY, flags: 0, stream: 0, payload: payload.freeze() }).await
    }

    /// Closes with RST.
    pub fn abort(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    async fn ack(&mut self, frame: Frame) -> io::Result<()> {
        let payload = if frame.kind == kind::PING { frame.payload } else { Bytes::new() };
        self.send(Frame { kind: frame.kind, flags: ACK, stream: 0, payload }).await
    }

    async fn credit(&mut self, stream: u32, length: usize) -> io::Result<()> {
        if !self.give_credit || length == 0 {
            return Ok(());
        }
        // A frame's length takes 24 bits.
        for stream in [0, stream] {
            self.send(Frame { kind: kind::WINDOW_UPDATE, flags: 0, stream, payload: words(&[length as u32]) }).await?;
        }
        Ok(())
    }
}

fn words(words: &[u32]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The 32 bits at `at`, 0 if the payload is shorter than it should be.
fn word(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}
