//! Reads frame headers off the incoming bytes, beside h2.
//!
//! Four things h2 does not tell, or tells only by taking its lock: whether the server's first frame is SETTINGS, that the stream
//! limit may have changed, what counts for the windows, and a GOAWAY with its debug data. The cost is a few nanoseconds per frame and no copy, but for
//! GOAWAY's debug data, of which 1 KiB is kept.

use super::flow::{Flow, length};
use crate::error::CloseReason;

const HEADER: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
/// GOAWAY's last stream and code, and as much of its debug data as we keep.
const GOAWAY_KEPT: usize = 8 + 1024;

/// What went by since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A SETTINGS frame that is not an acknowledgement went by whole.
    pub(super) settings: bool,
    /// The first GOAWAY.
    pub(super) go_away: Option<CloseReason>,
    /// Payload bytes of DATA frames.
    pub(super) data: usize,
}

/// Follows the frames in a stream of bytes that may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Sniffer {
    header: [u8; HEADER],
    have: usize,
    /// Payload bytes of the current frame still to come.
    left: usize,
    go_away: Vec<u8>,
    /// Of the WINDOW_UPDATE frame that is going by.
    increment: u32,
    pub(super) flow: Flow,
    first_checked: bool,
    pub(super) seen: Seen,
}

impl Sniffer {
    /// Takes the next bytes; `Err` if the very first frame is not SETTINGS, with what it looks like instead.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            bytes = self.pass(bytes);
            if bytes.is_empty() {
                break;
            }
            bytes = if self.have < HEADER { self.header(bytes)? } else { self.payload(bytes) };
            if self.have == HEADER && self.left == 0 {
                self.end();
            }
        }
        Ok(())
    }

    /// Passes over the frames that are here whole and of kinds that say nothing, or no more than their length: nearly all.
    #[inline]
    fn pass<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.have == 0
            && self.first_checked
            && let Some((header, rest)) = bytes.split_first_chunk::<HEADER>()
            && let Some(rest) = rest.get(length(header)..)
            && matches!(header[3], DATA | HEADERS)
        {
            if header[3] == DATA {
                self.seen.data += length(header);
                self.flow.data += length(header) as u64;
            }
            bytes = rest;
        }
        bytes
    }

    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let (now, rest) = bytes.split_at(bytes.len().min(HEADER - self.have));
        self.header[self.have..][..now.len()].copy_from_slice(now);
        self.have += now.len();
        if !self.first_checked {
            self.check_first(bytes)?;
        }
        if self.have == HEADER {
            self.left = length(&self.header);
        }
        Ok(rest)
    }

    fn payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(self.left));
        self.left -= now.len();
        self.flow.payload(&self.header, now, &mut self.increment);
        match self.header[3] {
            DATA => self.seen.data += now.len(),
            GOAWAY => self.go_away.extend_from_slice(&now[..now.len().min(GOAWAY_KEPT - self.go_away.len())]),
            _ => {}
        }
        rest
    }

    fn end(&mut self) {
        self.have = 0;
        self.flow.end(&self.header, &mut self.increment);
        match self.header[3] {
            SETTINGS if self.header[4] & ACK == 0 => self.seen.settings = true,
            GOAWAY => self.end_go_away(),
            _ => {}
        }
    }

    fn end_go_away(&mut self) {
        let payload = std::mem::take(&mut self.go_away);
        if let (Some(code), None) = (payload.get(4..8), &self.seen.go_away) {
            let code = code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
            let debug = String::from_utf8_lossy(&payload[8..]).into_owned();
            self.seen.go_away = Some(CloseReason::GoAway { code, debug });
        }
    }

    /// A SETTINGS frame of 64 KiB or more is absurd, so its first byte is 0; this finds other protocols that say less than 9 bytes.
    fn check_first(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.first_checked = self.have == HEADER;
        let settings = self.header[3] == SETTINGS && self.header[4] & ACK == 0 && self.header[5..] == [0; 4];
        if self.header[0] == 0 && (settings || !self.first_checked) { Ok(()) } else { Err(self.describe(bytes)) }
    }

    fn describe(&self, bytes: &[u8]) -> String {
        let start = if bytes.len() < self.have { &self.header[..self.have] } else { bytes };
        let start = &start[..start.len().min(24)];
        match start {
            [b'H', b'T', b'T', b'P', ..] => "it answers in HTTP/1".to_owned(),
            [0x15 | 0x16, 0x03, ..] => "it answers in TLS, which this connection does not use".to_owned(),
            _ => format!("it begins with \"{}\" and not with a SETTINGS frame", start.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_UPDATE: u8 = 0x8;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn conversation() -> Vec<u8> {
        let mut bytes = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]);
        bytes.extend(frame(HEADERS, 4, 1, &[0x88; 20]));
        bytes.extend(frame(DATA, 0, 1, &[7; 300]));
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0x80, 1, 0, 0]));
        bytes.extend(frame(DATA, 1, 1, &[]));
        bytes.extend(frame(HEADERS, 5, 1, &[]));
        bytes.extend(frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\x0btoo_many_pings"));
        bytes.extend(frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0second"));
        bytes
    }

    #[test]
    fn sees_the_same_however_the_bytes_are_cut() {
        for size in [1, 2, 3, 8, 9, 10, 64, 1000] {
            let mut sniffer = Sniffer::default();
            for chunk in conversation().chunks(size) {
                sniffer.feed(chunk).unwrap();
            }
            assert!(sniffer.seen.settings);
            assert_eq!(sniffer.seen.data, 300);
            assert_eq!(sniffer.flow, Flow { data: 300, granted: 65_536 }, "cut at {size}");
            assert!(sniffer.seen.go_away.as_ref().unwrap().too_many_pings(), "{:?}", sniffer.seen);
        }
    }

    #[test]
    fn tells_other_protocols_by_their_first_bytes() {
        for (bytes, word) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP/1"),
            (b"\x15\x03\x01\0\x02", "TLS"),
            (b"hi", "\"hi\""),
            (&frame(SETTINGS, ACK, 0, &[]), "SETTINGS"),
            (&frame(SETTINGS, 0, 1, &[]), "SETTINGS"),
        ] {
            assert!(Sniffer::default().feed(bytes).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn hostile_go_away_is_bounded() {
        let mut sniffer = Sniffer::default();
        sniffer.feed(&frame(SETTINGS, 0, 0, &[])).unwrap();
        assert!(sniffer.seen.settings);
        sniffer.feed(&frame(GOAWAY, 0, 0, &[0; 7])).unwrap();
        assert_eq!(sniffer.seen.go_away, None);
        sniffer.feed(&frame(GOAWAY, 0, 0, &[0; 60_000])).unwrap();
        let Some(CloseReason::GoAway { debug, .. }) = &sniffer.seen.go_away else { panic!("no GOAWAY") };
        assert_eq!(debug.len(), 1024);
    }
}
