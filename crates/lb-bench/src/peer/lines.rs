//! Lines of a program that may print anything, or nothing.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};

/// The longest line that is kept: a reply has some 200 bytes.
const LONGEST: u64 = 4 * 1024;

/// Lines that may wait to be read. A program that prints more is held back by its pipe.
const WAITING: usize = 4;

/// What is not a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// More bytes than any line of the protocol has.
    #[error("a line of more than {LONGEST} bytes: {start:?} …")]
    TooLong {
        /// How it begins.
        start: String,
    },
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

/// Reads lines in a thread, which ends with the stream, with the receiver or with an error. No stream has no lines.
pub(super) fn of(stream: Option<impl Read + Send + 'static>) -> Receiver<Result<String, LineError>> {
    let (send, receive) = mpsc::sync_channel(WAITING);
    if let Some(stream) = stream {
        std::thread::spawn(move || read(BufReader::new(stream), &send));
    }
    receive
}

fn read(mut stream: impl BufRead, lines: &SyncSender<Result<String, LineError>>) {
    loop {
        let mut line = Vec::new();
        let result = match stream.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.len() as u64 > LONGEST => Err(LineError::TooLong { start: excerpt(&line) }),
            Ok(_) => Ok(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) => Err(error.into()),
        };
        let last = result.is_err();
        if lines.send(result).is_err() || last {
            return;
        }
    }
}

/// Enough to see what it is.
fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned()
}
