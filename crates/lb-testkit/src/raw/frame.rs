//! HTTP/2 frames (RFC 9113 §4) and just enough HPACK (RFC 7541) to send headers.

use bytes::{BufMut, Bytes, BytesMut};

/// Frame types (RFC 9113 §6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
}

/// Settings (RFC 9113 §6.5.2).
pub mod setting {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    /// SETTINGS_MAX_FRAME_SIZE.
    pub const MAX_FRAME_SIZE: u16 = 5;
}

/// END_STREAM of DATA and HEADERS; ACK of SETTINGS and PING.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// As the kind defines them.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What follows the nine bytes of the head.
    pub payload: Bytes,
}

impl Frame {
    /// The length of a frame's head.
    pub(super) const HEAD: usize = 9;

    /// Reads a head: the length of the payload, and the frame without it.
    pub(super) fn head(head: [u8; Self::HEAD]) -> (usize, Self) {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        (u32::from_be_bytes([0, a, b, c]) as usize, Self { kind, flags, stream, payload: Bytes::new() })
    }

    /// The frame as bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::HEAD + self.payload.len());
        // A length takes 24 bits; nothing here sends 16 MiB in one frame.
        out.put_uint(self.payload.len() as u64, 3);
        out.put_u8(self.kind);
        out.put_u8(self.flags);
        out.put_u32(self.stream);
        out.put_slice(&self.payload);
        out.freeze()
    }

    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A header block of literals without indexing and without Huffman: valid for every decoder, and stateless.
pub(super) fn header_block(headers: &[(&str, &str)]) -> Bytes {
    let mut out = BytesMut::new();
    for (name, value) in headers {
        out.put_u8(0);
        string(&mut out, name);
        string(&mut out, value);
    }
    out.freeze()
}

/// A string literal: its length as an integer with a 7-bit prefix (RFC 7541 §5.1), then its bytes.
fn string(out: &mut BytesMut, text: &str) {
    let mut length = text.len();
    if length < 127 {
        out.put_u8(length as u8);
    } else {
        out.put_u8(127);
        length -= 127;
        while length >= 128 {
            out.put_u8((length % 128) as u8 | 128);
            length /= 128;
        }
        out.put_u8(length as u8);
    }
    out.put_slice(text.as_bytes());
}
