//! The size of messages, read where they pass by, and limits on it.
//!
//! gRPC puts five bytes before each message: a flag and the length. Reading only those, a limit needs no copy and no decoding,
//! and a message that is too large is refused before its bytes are taken in. Observers count by the same walk.

use crate::error::CallError;

const PREFIX: usize = 5;

/// Walks over the messages of one direction of one call, however their bytes are cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Messages {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are known.
    read: u8,
    remaining: u32,
}

/// What a walk comes by. Sizes are without the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Begins { size: u32 },
    Ends { size: u32, compressed: bool },
}

impl Messages {
    /// The size of the message that `bytes` are the whole of, as they mostly are. `None` if they are anything else, or the message before has
    /// not ended. To take it into account is to do nothing.
    #[inline]
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<u32> {
        let (&[_, ref length @ ..], rest) = bytes.split_first_chunk::<PREFIX>()?;
        let size = u32::from_be_bytes(*length);
        (self.read == 0 && rest.len() as u64 == u64::from(size)).then_some(size)
    }

    /// Goes on to the next beginning or end within `bytes`, and takes them off; `None` when there are no more.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Passage> {
        let read = usize::from(self.read);
        if read < PREFIX {
            let taken = bytes.len().min(PREFIX - read);
            let (part, rest) = bytes.split_at(taken);
            self.prefix[read..read + taken].copy_from_slice(part);
            *bytes = rest;
            self.read += taken as u8;
            if read + taken < PREFIX {
                return None;
            }
            self.remaining = self.size();
            return Some(Passage::Begins { size: self.remaining });
        }
        let skipped = self.remaining.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.remaining -= skipped;
        *bytes = &bytes[skipped as usize..];
        if self.remaining > 0 {
            return None;
        }
        self.read = 0;
        Some(Passage::Ends { size: self.size(), compressed: self.prefix[0] != 0 })
    }

    fn size(&self) -> u32 {
        let [_, length @ ..] = self.prefix;
        u32::from_be_bytes(length)
    }
}

/// Walks over the messages of one direction of one call, and stops at one that is too large.
#[derive(Debug, Clone)]
pub(crate) struct MessageSize {
    direction: &'static str,
    limit: usize,
    messages: Messages,
}

impl MessageSize {
    pub(crate) fn new(direction: &'static str, limit: usize) -> Self {
        Self { direction, limit, messages: Messages::default() }
    }

    /// Takes the next bytes of the stream; `Err` as soon as a message that is too large begins.
    pub(crate) fn check(&mut self, mut bytes: &[u8]) -> Result<(), CallError> {
        while let Some(passage) = self.messages.next(&mut bytes) {
            if let Passage::Begins { size } = passage
                && u64::from(size) > self.limit as u64
            {
                return Err(CallError::MessageTooLarge { direction: self.direction, size: size.into(), limit: self.limit });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, size];
        bytes.extend(vec![9; usize::from(size)]);
        bytes
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let stream: Vec<u8> = [message(3), message(0), message(10)].concat();
        for cut in 1..stream.len() {
            let mut sizes = MessageSize::new("request", 10);
            assert!(stream.chunks(cut).all(|chunk| sizes.check(chunk).is_ok()), "cut into {cut}");
            let mut sizes = MessageSize::new("request", 9);
            assert!(stream.chunks(cut).any(|chunk| sizes.check(chunk).is_err()), "cut into {cut}");
        }
    }

    #[test]
    fn every_message_begins_and_ends_once_however_the_bytes_are_cut() {
        let mut stream = [message(3), message(0), message(200)].concat();
        stream[0] = 1;
        for cut in 1..stream.len() {
            let (mut messages, mut seen) = (Messages::default(), Vec::new());
            for mut chunk in stream.chunks(cut) {
                seen.extend(std::iter::from_fn(|| messages.next(&mut chunk)));
                assert!(chunk.is_empty(), "all is taken");
            }
            let pair = |size, compressed| [Passage::Begins { size }, Passage::Ends { size, compressed }];
            assert_eq!(seen, [pair(3, true), pair(0, false), pair(200, false)].concat(), "cut into {cut}");
        }
    }

    #[test]
    fn a_message_that_comes_whole_is_known_at_once_and_nothing_else_is() {
        let mut compressed = message(7);
        compressed[0] = 1;
        for (bytes, size) in [(message(0), 0), (message(200), 200), (compressed, 7)] {
            assert_eq!(Messages::default().whole(&bytes), Some(size));
            let two = [bytes.clone(), bytes.clone()].concat();
            for cut in (0..two.len()).filter(|cut| *cut != bytes.len()) {
                assert_eq!(Messages::default().whole(&two[..cut]), None, "{cut} bytes");
            }
            // One that looks whole and stands within another is none.
            for cut in 1..bytes.len() {
                let mut messages = Messages::default();
                let mut begun = &bytes[..cut];
                while messages.next(&mut begun).is_some() {}
                assert_eq!(messages.whole(&bytes), None, "after {cut} bytes");
            }
        }
        assert_eq!(Messages::default().whole(&[0, 255, 255, 255, 255]), None);
    }

    #[test]
    fn limit_zero_allows_empty_messages_only() {
        assert!(MessageSize::new("response", 0).check(&message(0)).is_ok());
        assert!(MessageSize::new("response", 0).check(&message(1)).is_err());
    }
}
