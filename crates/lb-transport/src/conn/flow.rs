//! The connection's flow-control windows, added up from the frames that went by.
//!
//! h2 keeps both windows and shows neither. Each is 65 535 bytes to begin with, plus what its reader has granted in WINDOW_UPDATE frames
//! for stream 0, less the payload of DATA frames. What arrives is followed by the sniffer, what leaves here: nine bytes per frame are
//! looked at, by the connection's task.

use crate::config::MIN_WINDOW;

const HEADER: usize = 9;
const DATA: u8 = 0x0;
const WINDOW_UPDATE: u8 = 0x8;
/// "PRI * HTTP/2.0" and so on, before the first frame of a client.
const PREFACE: usize = 24;
/// The first bit of an increment is reserved.
const INCREMENT: u32 = (1 << 31) - 1;

/// What went one way that counts for the windows, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// Payload of DATA frames, padding included.
    pub(super) data: u64,
    /// What the sender of these frames has granted for the other way.
    pub(super) granted: u64,
}

impl Flow {
    /// A frame's payload, or a part of it.
    #[inline]
    pub(super) fn payload(&mut self, header: &[u8; HEADER], payload: &[u8], increment: &mut u32) {
        match header[3] {
            DATA => self.data += payload.len() as u64,
            WINDOW_UPDATE => *increment = payload.iter().fold(*increment, |sum, byte| sum << 8 | u32::from(*byte)),
            _ => {}
        }
    }

    /// The frame is complete.
    #[inline]
    pub(super) fn end(&mut self, header: &[u8; HEADER], increment: &mut u32) {
        if header[3] == WINDOW_UPDATE {
            let increment = std::mem::take(increment) & INCREMENT;
            if header[5..] == [0; 4] {
                self.granted += u64::from(increment);
            }
        }
    }

    /// The window of those who send frames as `self`, as those on the other end, who send `theirs`, have granted it. Below zero if they
    /// overdraw it.
    pub(super) fn window(self, theirs: Self) -> i64 {
        let granted = u64::from(MIN_WINDOW).saturating_add(theirs.granted);
        i64::try_from(i128::from(granted) - i128::from(self.data)).unwrap_or(i64::MAX)
    }
}

/// Follows the frames a client sends, in bytes that may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Bytes of the preface seen.
    preface: usize,
    header: [u8; HEADER],
    have: usize,
    /// Payload bytes of the current frame still to come.
    left: usize,
    increment: u32,
    pub(super) flow: Flow,
}

impl Outgoing {
    #[inline]
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        // The usual write is of whole frames, few of them WINDOW_UPDATE.
        while self.have == 0
            && self.preface == PREFACE
            && let Some((header, rest)) = bytes.split_first_chunk::<HEADER>()
            && let Some(rest) = rest.get(length(header)..)
            && header[3] != WINDOW_UPDATE
        {
            if header[3] == DATA {
                self.flow.data += length(header) as u64;
            }
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.follow(bytes);
        }
    }

    fn follow(&mut self, bytes: &[u8]) {
        let (preface, mut bytes) = bytes.split_at(bytes.len().min(PREFACE - self.preface));
        self.preface += preface.len();
        while !bytes.is_empty() {
            bytes = if self.have < HEADER { self.header(bytes) } else { self.payload(bytes) };
            if self.have == HEADER && self.left == 0 {
                self.have = 0;
                self.flow.end(&self.header, &mut self.increment);
            }
        }
    }

    fn header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(HEADER - self.have));
        self.header[self.have..][..now.len()].copy_from_slice(now);
        self.have += now.len();
        if self.have == HEADER {
            self.left = length(&self.header);
        }
        rest
    }

    fn payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(self.left));
        self.left -= now.len();
        self.flow.payload(&self.header, now, &mut self.increment);
        rest
    }
}

/// The length of a frame's payload.
#[inline]
pub(super) fn length(header: &[u8; HEADER]) -> usize {
    u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, 0, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn adds_up_the_same_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(0x4, 0, &[0; 12]));
        bytes.extend(frame(WINDOW_UPDATE, 0, &[0x80, 1, 0, 0]));
        bytes.extend(frame(WINDOW_UPDATE, 1, &[0, 0, 0, 9]));
        bytes.extend(frame(DATA, 1, &[7; 300]));
        bytes.extend(frame(DATA, 1, &[]));
        bytes.extend(frame(WINDOW_UPDATE, 0, &[0, 0, 0, 5]));
        for size in [1, 2, 8, 9, 10, 24, 25, bytes.len()] {
            let mut outgoing = Outgoing::default();
            bytes.chunks(size).for_each(|chunk| outgoing.feed(chunk));
            assert_eq!(outgoing.flow, Flow { data: 300, granted: 65_541 }, "cut at {size}");
        }
    }

    #[test]
    fn a_window_may_be_overdrawn() {
        let theirs = Flow { data: 0, granted: 10 };
        assert_eq!(Flow::default().window(theirs), 65_545);
        assert_eq!(Flow { data: 65_546, granted: 0 }.window(theirs), -1);
    }
}
