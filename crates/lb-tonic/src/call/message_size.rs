//! Limits on the size of messages, enforced where they pass by.
//!
//! gRPC puts five bytes before each message: a flag and the length. Reading only those, a limit needs no copy and no decoding,
//! and a message that is too large is refused before its bytes are taken in.

use crate::error::CallError;

const PREFIX: usize = 5;

/// Walks over the messages of one direction of one call.
#[derive(Debug, Clone)]
pub(crate) struct MessageSize {
    direction: &'static str,
    limit: usize,
    prefix: [u8; PREFIX],
    read: usize,
    remaining: u64,
}

impl MessageSize {
    pub(crate) fn new(direction: &'static str, limit: usize) -> Self {
        Self { direction, limit, prefix: [0; PREFIX], read: 0, remaining: 0 }
    }

    /// Takes the next bytes of the stream; `Err` as soon as a message that is too large begins.
    pub(crate) fn check(&mut self, mut bytes: &[u8]) -> Result<(), CallError> {
        while !bytes.is_empty() {
            if self.remaining > 0 {
                let skipped = bytes.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                self.remaining -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.prefix[self.read] = bytes[0];
            self.read += 1;
            bytes = &bytes[1..];
            if self.read == PREFIX {
                self.begin()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), CallError> {
        let [_, length @ ..] = self.prefix;
        self.read = 0;
        self.remaining = u64::from(u32::from_be_bytes(length));
        if self.remaining > self.limit as u64 {
            return Err(CallError::MessageTooLarge { direction: self.direction, size: self.remaining, limit: self.limit });
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
    fn limit_zero_allows_empty_messages_only() {
        assert!(MessageSize::new("response", 0).check(&message(0)).is_ok());
        assert!(MessageSize::new("response", 0).check(&message(1)).is_err());
    }
}
