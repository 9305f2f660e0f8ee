//! Reading an answer within a bound: whole, or line by line.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;

use crate::failure::{Failure, chain};
use crate::known::too_much;

/// A line, or a whole answer, may be `most` bytes; one more is an error. What one read brings may lie in memory beyond that.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Up to where there is no line end.
    searched: usize,
    most: usize,
}

impl Lines {
    pub(crate) fn new(body: Body, most: usize) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, most }
    }

    /// The next line without its end, or `None` when the answer has ended as it should. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                return Ok(Some(line.slice(..line.len() - 1)));
            }
            self.searched = self.buffer.len();
            self.check()?;
            if !self.read().await? {
                let rest = self.buffer.iter().all(u8::is_ascii_whitespace);
                return if rest { Ok(None) } else { Err(Failure::unavailable("the answer ended within a line")) };
            }
        }
    }

    /// Everything up to the end of the answer. Not cancel safe.
    pub(crate) async fn whole(mut self) -> Result<Bytes, Failure> {
        while self.read().await? {
            self.check()?;
        }
        Ok(self.buffer.freeze())
    }

    /// The beginning of an answer, as much as came before its end, its bound or its failure.
    pub(crate) async fn beginning(mut self) -> Bytes {
        while self.check().is_ok() && matches!(self.read().await, Ok(true)) {}
        self.buffer.freeze()
    }

    fn check(&self) -> Result<(), Failure> {
        if self.buffer.len() <= self.most { Ok(()) } else { Err(too_much(self.most)) }
    }

    /// Reads some more; `false` at the end.
    async fn read(&mut self) -> Result<bool, Failure> {
        match self.body.frame().await {
            None => Ok(false),
            Some(Err(error)) => Err(Failure::unavailable(format!("the answer broke off: {}", chain(&error)))),
            Some(Ok(frame)) => {
                self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, most: usize) -> Lines {
        Lines::new(Body::from(text.as_bytes().to_vec()), most)
    }

    #[tokio::test]
    async fn lines_come_one_by_one() {
        let mut some = lines("a\n\nbc\n", 100);
        let mut all = Vec::new();
        while let Some(line) = some.next().await.unwrap() {
            all.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(all, ["a", "", "bc"]);
        assert!(lines("a\nb", 100).whole().await.unwrap().ends_with(b"b"));
    }

    #[tokio::test]
    async fn an_end_within_a_line_is_a_failure() {
        let mut cut = lines("a\nb", 100);
        assert_eq!(cut.next().await.unwrap().unwrap(), "a");
        assert!(cut.next().await.unwrap_err().message.contains("within a line"));
    }

    #[tokio::test]
    async fn one_byte_more_than_the_bound_is_a_failure() {
        assert_eq!(lines("12345", 5).whole().await.unwrap(), "12345");
        let error = lines("123456", 5).whole().await.unwrap_err();
        assert!(error.message.contains("larger than 5 bytes"), "{error:?}");
        assert!(lines("123456", 5).next().await.is_err());
        assert_eq!(lines("1234\n1234\n", 5).next().await.unwrap().unwrap(), "1234", "each line by itself");
        assert_eq!(lines("123456", 5).beginning().await, "123456");
    }
}
