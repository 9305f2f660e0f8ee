//! One watch: what changed since a list, or since the watch before it.

use std::time::Duration;

use bytes::Bytes;
use kube::client::Body;
use tokio::time::{Instant, timeout_at};

use crate::failure::Failure;
use crate::lines::Lines;
use crate::slice::{Message, Metadata, Object, Slice, Status};

/// How much later than it should a watch may end before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);

/// A change of a set of slices, or of other objects.
#[derive(Debug)]
pub(crate) enum Change<T = Slice> {
    /// There is this one, which came as that many bytes.
    Put(T, usize),
    /// There is none of this name any more.
    Removed(String),
}

/// An open watch.
#[derive(Debug)]
pub(crate) struct Watch {
    lines: Lines,
    /// Where to resume.
    pub(crate) version: String,
    pub(crate) began: Instant,
    /// When the server last said anything.
    pub(crate) heard: Instant,
    ends: Instant,
}

impl Watch {
    /// Over an answer that was asked to end after `lasts`.
    pub(crate) fn new(body: Body, version: String, lasts: Duration, most: usize) -> Self {
        let began = Instant::now();
        Self { lines: Lines::new(body, most), version, began, heard: began, ends: began + lasts + GRACE }
    }

    /// The next change, or `None` when the watch has ended as it should and may be resumed. Cancel safe.
    pub(crate) async fn next<T: Object>(&mut self) -> Result<Option<Change<T>>, Failure> {
        loop {
            let late = |_| Failure::unavailable("the watch did not end when it should have: the connection is dead");
            let Some(line) = timeout_at(self.ends, self.lines.next()).await.map_err(late)?? else { return Ok(None) };
            self.heard = Instant::now();
            if let Some(change) = self.read(&line)? {
                return Ok(Some(change));
            }
        }
    }

    fn read<T: Object>(&mut self, line: &Bytes) -> Result<Option<Change<T>>, Failure> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let unread = |error| Failure::malformed(format!("a line of the watch cannot be read: {error}"));
        let (object, there): (T, bool) = match serde_json::from_slice(line).map_err(unread)? {
            Message::Added(object) | Message::Modified(object) => (object, true),
            Message::Deleted(object) => (object, false),
            Message::Bookmark(bookmark) => {
                self.advance(bookmark.metadata.resource_version)?;
                return Ok(None);
            }
            Message::Error(status) => return Err(ended(&status)),
        };
        let Metadata { name, resource_version, .. } = object.metadata();
        let Some(version) = resource_version.clone().filter(|version| !version.is_empty()) else {
            return Err(Failure::malformed(format!("{name:?} has no resource version")));
        };
        self.advance(version)?;
        Ok(Some(if there { Change::Put(object, line.len()) } else { Change::Removed(object.metadata().name.clone()) }))
    }

    /// Versions only grow. If one does not, the server lost its data or is another one, and would not tell what it has that is older than
    /// what we know.
    fn advance(&mut self, version: String) -> Result<(), Failure> {
        if let (Ok(before), Ok(now)) = (self.version.parse::<u64>(), version.parse::<u64>())
            && now < before
        {
            return Err(Failure::gone(format!("the server's history went back from {before} to {now}")));
        }
        self.version = version;
        Ok(())
    }
}

fn ended(status: &Status) -> Failure {
    let message = format!("the server ended the watch: {} {}: {}", status.code, status.reason, status.message);
    if status.code == 410 { Failure::gone(message) } else { Failure::unavailable(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(text: &str) -> Watch {
        Watch::new(Body::from(text.as_bytes().to_vec()), "1".to_owned(), Duration::from_secs(30), 10_000)
    }

    fn line(kind: &str, name: &str, version: &str) -> String {
        format!(
            "{{\"type\":\"{kind}\",\"object\":{{\"metadata\":{{\"name\":\"{name}\",\"resourceVersion\":\"{version}\"}},\"addressType\":\"IPv4\"}}}}\n"
        )
    }

    #[tokio::test]
    async fn changes_and_bookmarks_move_the_version() {
        let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n";
        let text = [&line("ADDED", "a", "5"), "\n", &line("DELETED", "a", "7"), bookmark].concat();
        let mut watch = watch(&text);
        assert!(matches!(watch.next::<Slice>().await, Ok(Some(Change::Put(slice, _))) if slice.metadata.name == "a"));
        assert_eq!(watch.version, "5");
        assert!(matches!(watch.next::<Slice>().await, Ok(Some(Change::Removed(name))) if name == "a"));
        assert_eq!(watch.version, "7");
        assert!(matches!(watch.next::<Slice>().await, Ok(None)));
        assert_eq!(watch.version, "9");
    }

    #[tokio::test]
    async fn a_history_that_goes_back_is_another_one() {
        let text =
            [&*line("ADDED", "a", "5"), "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"4\"}}}\n"].concat();
        let mut watch = watch(&text);
        assert!(watch.next::<Slice>().await.unwrap().is_some());
        let failure = watch.next::<Slice>().await.unwrap_err();
        assert!(failure.gone && failure.message.contains("from 5 to 4"), "{failure:?}");
    }

    #[tokio::test]
    async fn an_error_in_the_stream_says_whether_history_is_gone() {
        let error = |code: u16| format!("{{\"type\":\"ERROR\",\"object\":{{\"code\":{code},\"message\":\"too old\"}}}}\n");
        let gone = watch(&error(410)).next::<Slice>().await.unwrap_err();
        assert!(gone.gone && gone.message.contains("410") && gone.message.contains("too old"), "{gone:?}");
        assert!(!watch(&error(500)).next::<Slice>().await.unwrap_err().gone);
        assert!(watch(&line("ADDED", "a", "")).next::<Slice>().await.is_err());
        assert!(watch("{\"type\":\"ADDED\"}\n").next::<Slice>().await.unwrap_err().message.contains("cannot be read"));
    }
}
