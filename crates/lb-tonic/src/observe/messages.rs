//! Messages found in the bytes of a body.

use crate::call::{Messages, Passage};

use super::{Direction, Message};

/// Finds the messages of one direction of one call in its bytes, without decoding them: for those who see a body pass by themselves, on a
/// server for example. It copies nothing, and what claims to be a message of 4 GB costs no more than its prefix.
///
/// ```
/// use lb_tonic::observe::{Direction, MessageReader};
///
/// let mut reader = MessageReader::new(Direction::Received);
/// let mut sizes = Vec::new();
/// // A message of three bytes, cut in two.
/// for bytes in [&[0, 0, 0, 0, 3, 7][..], &[7, 7]] {
///     reader.read(bytes, |message| sizes.push((message.sequence, message.size)));
/// }
/// assert_eq!(sizes, [(0, 3)]);
/// ```
#[derive(Debug, Clone)]
pub struct MessageReader {
    direction: Direction,
    messages: Messages,
    count: u64,
}

impl MessageReader {
    /// At the beginning of a body.
    pub fn new(direction: Direction) -> Self {
        Self { direction, messages: Messages::default(), count: 0 }
    }

    /// The size of the message that `bytes` are the whole of, which need not be read then by who counts only bytes.
    #[inline]
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<u32> {
        self.messages.whole(bytes)
    }

    /// Takes the next bytes; `told` hears of every message that ends in them.
    pub fn read(&mut self, mut bytes: &[u8], mut told: impl FnMut(&Message)) {
        while let Some(passage) = self.messages.next(&mut bytes) {
            let Passage::Ends { size, compressed } = passage else { continue };
            told(&Message::new(self.direction, self.count, size.into(), compressed));
            self.count += 1;
        }
    }
}
