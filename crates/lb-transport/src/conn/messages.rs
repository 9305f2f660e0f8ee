//! Counts gRPC messages in the data of one direction of a stream.

/// Before each message: a flag and four bytes of length.
const PREFIX: usize = 5;

/// Follows the messages in data that may be cut anywhere; looks at their prefixes alone.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Bytes of the prefix seen so far.
    prefix: usize,
    /// What is still to come of the message; while the prefix is read, the length as far as it is known.
    left: u32,
}

impl Messages {
    /// Takes the next data; answers how many messages it completes. What is no gRPC is counted as if it were, and does no harm.
    #[inline]
    pub(crate) fn feed(&mut self, data: &[u8]) -> u64 {
        // The usual piece is one whole message.
        if self.prefix == 0
            && let Some(([_, a, b, c, d], message)) = data.split_first_chunk::<PREFIX>()
            && message.len() == u32::from_be_bytes([*a, *b, *c, *d]) as usize
        {
            return 1;
        }
        self.follow(data)
    }

    fn follow(&mut self, mut data: &[u8]) -> u64 {
        let mut complete = 0;
        while !data.is_empty() {
            if self.prefix < PREFIX {
                let (now, rest) = data.split_at(data.len().min(PREFIX - self.prefix));
                // The flag comes first, and four bytes of length push it out.
                self.left = now.iter().fold(self.left, |length, byte| length << 8 | u32::from(*byte));
                self.prefix += now.len();
                data = rest;
            }
            let now = data.len().min(self.left as usize);
            if self.prefix == PREFIX {
                (self.left, data) = (self.left - now as u32, &data[now..]);
                if self.left == 0 {
                    self.prefix = 0;
                    complete += 1;
                }
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flag: u8, size: usize) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend_from_slice(&(size as u32).to_be_bytes());
        bytes.resize(5 + size, 0xff);
        bytes
    }

    #[test]
    fn counts_the_same_however_the_data_is_cut() {
        let sizes = [0, 1, 4, 5, 255, 256, 70_000, 0, 0];
        let data: Vec<u8> = sizes.iter().flat_map(|size| message(1, *size)).collect();
        for cut in [1, 2, 3, 4, 5, 6, 7, 100, 65_536, data.len()] {
            let mut messages = Messages::default();
            let count: u64 = data.chunks(cut).map(|chunk| messages.feed(chunk)).sum();
            assert_eq!(count, sizes.len() as u64, "cut at {cut}");
        }
    }

    #[test]
    fn a_message_counts_when_its_last_byte_is_there() {
        let mut messages = Messages::default();
        let data = message(0, 3);
        assert_eq!(messages.feed(&data[..7]), 0);
        assert_eq!(messages.feed(&data[7..]), 1);
        assert_eq!(messages.feed(&[]), 0);
        assert_eq!(messages.feed(&[0xff; 5]), 0, "a length of 4 GiB is followed, not believed");
    }
}
