//! The headers of a call, kept in case it has to be sent again.
//!
//! The first attempt takes the caller's own header map. Keeping a second map would cost every call two allocations and a hash per
//! header, for the few calls that are sent twice. What is kept instead is a plain list, in memory that calls on the same thread
//! hand on to each other; a map is made of it only when it is needed.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::header;

/// Lists per thread; more calls than that at once on one thread allocate.
const MAX_LISTS: usize = 256;

/// The longest list handed on; a call with more headers does not make others hold its memory.
const MAX_HEADERS: usize = 32;

type List = Vec<(HeaderName, HeaderValue)>;

thread_local! {
    static LISTS: RefCell<Vec<List>> = const { RefCell::new(Vec::new()) };
}

/// Headers as a list.
#[derive(Debug, Default)]
pub(super) struct Retained(List);

impl Retained {
    /// Keeps these, but for the timeout, which is another one by the time they are sent again.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let mut list = LISTS.with(|lists| lists.try_borrow_mut().ok().and_then(|mut lists| lists.pop())).unwrap_or_default();
        let kept = headers.iter().filter(|(name, _)| *name != header::TIMEOUT);
        list.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        Self(list)
    }

    /// Whether nothing is kept, or nothing was there to be kept.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers as a map again.
    pub(super) fn restore(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            headers.append(name.clone(), value.clone());
        }
        headers
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        if list.capacity() == 0 || list.capacity() > MAX_HEADERS {
            return;
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_headers_come_back_and_the_timeout_does_not() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("grpc-timeout", "1S")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let retained = Retained::new(&headers);
        headers.remove("grpc-timeout");
        assert_eq!(retained.restore(), headers);
    }

    #[test]
    fn a_list_is_handed_on_empty() {
        let mut headers = HeaderMap::new();
        headers.insert("x-secret", HeaderValue::from_static("1"));
        drop(Retained::new(&headers));
        assert!(Retained::new(&HeaderMap::new()).restore().is_empty());
    }
}
