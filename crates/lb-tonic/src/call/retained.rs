//! The headers of a call, kept in case it has to be sent again.
//!
//! The first attempt takes the caller's own header map. Keeping a second map would cost every call two allocations and a hash per
//! header, for the few calls that are sent twice. What is kept instead is that the two headers are there that nearly every call has, and a plain
//! list of the others, in memory that calls on the same thread hand on to each other; a map is made of it only when it is needed.

use std::cell::RefCell;
use std::time::Duration;

use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{deadline, header};

/// Lists per thread; more calls than that at once on one thread allocate.
const MAX_LISTS: usize = 256;

/// The longest list handed on; a call with more headers does not make others hold its memory.
const MAX_HEADERS: usize = 32;

type List = Vec<(HeaderName, HeaderValue)>;

thread_local! {
    static LISTS: RefCell<Vec<List>> = const { RefCell::new(Vec::new()) };
}

/// The headers of a call, but for its timeout, which is another one by the time they are sent again.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// Whether there is `te: trailers`, and `content-type: application/grpc`. Nearly every call has these two, and often no others.
    te: bool,
    grpc: bool,
    others: List,
}

const TRAILERS: &str = "trailers";
const GRPC: &str = "application/grpc";

impl Retained {
    /// Keeps these, and reads the timeout that is among them.
    #[inline]
    pub(super) fn new(headers: &HeaderMap) -> (Self, Option<Duration>) {
        let (mut retained, mut timeout) = (Self::default(), None);
        for (name, value) in headers {
            if *name == TE && !retained.te && is(value, TRAILERS) {
                retained.te = true;
            } else if *name == CONTENT_TYPE && !retained.grpc && is(value, GRPC) {
                retained.grpc = true;
            } else if *name == header::TIMEOUT {
                // The first counts.
                timeout.get_or_insert(value);
            } else {
                retained.keep(name, value);
            }
        }
        (retained, timeout.and_then(deadline::parse))
    }

    fn keep(&mut self, name: &HeaderName, value: &HeaderValue) {
        if self.others.capacity() == 0 {
            self.others = LISTS.with(|lists| lists.try_borrow_mut().ok().and_then(|mut lists| lists.pop())).unwrap_or_default();
        }
        self.others.push((name.clone(), value.clone()));
    }

    /// The headers as a map again.
    pub(super) fn restore(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(2 + self.others.len());
        for (is_there, name, value) in [(self.te, TE, TRAILERS), (self.grpc, CONTENT_TYPE, GRPC)] {
            if is_there {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        for (name, value) in &self.others {
            headers.append(name.clone(), value.clone());
        }
        headers
    }
}

#[inline]
fn is(value: &HeaderValue, text: &str) -> bool {
    value.as_bytes() == text.as_bytes() && !value.is_sensitive()
}

impl Drop for Retained {
    fn drop(&mut self) {
        if self.others.capacity() > 0 && self.others.capacity() <= MAX_HEADERS {
            hand_on(std::mem::take(&mut self.others));
        }
    }
}

fn hand_on(mut list: List) {
    list.clear();
    // At the end of a thread its lists may be gone before its calls.
    let _ = LISTS.try_with(|lists| {
        if let Ok(mut lists) = lists.try_borrow_mut()
            && lists.len() < MAX_LISTS
        {
            lists.push(list);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn headers_come_back_whatever_they_are_and_the_timeout_does_not() {
        let (usual, other) = (("te", "trailers"), ("te", "gzip"));
        let (grpc, json) = (("content-type", "application/grpc"), ("content-type", "application/grpc+json"));
        for kept in [
            vec![],
            vec![usual, grpc],
            vec![usual],
            vec![other, json],
            vec![usual, usual, usual, grpc, json],
            vec![usual, grpc, ("x-a", "1"), ("x-b", "2"), ("x-a", "3")],
        ] {
            let mut headers = headers(&kept);
            assert_eq!(Retained::new(&headers).0.restore(), headers, "{kept:?}");
            headers.append("grpc-timeout", HeaderValue::from_static("1S"));
            headers.append("grpc-timeout", HeaderValue::from_static("2S"));
            let (retained, timeout) = Retained::new(&headers);
            assert_eq!(timeout, Some(Duration::from_secs(1)));
            headers.remove("grpc-timeout");
            assert_eq!(retained.restore(), headers, "{kept:?}");
        }
        let mut secret = HeaderValue::from_static("trailers");
        secret.set_sensitive(true);
        let headers = HeaderMap::from_iter([(TE, secret)]);
        assert!(Retained::new(&headers).0.restore()[TE].is_sensitive());
    }

    #[test]
    fn a_list_is_handed_on_empty() {
        drop(Retained::new(&headers(&[("x-secret", "1")])));
        let mut next = Retained::default();
        next.keep(&TE, &HeaderValue::from_static("gzip"));
        assert_eq!(next.restore(), headers(&[("te", "gzip")]));
    }
}
