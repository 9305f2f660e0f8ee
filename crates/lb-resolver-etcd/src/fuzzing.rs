//! What the fuzz targets call; built only for them.

use prost::Message;

use crate::book::Book;
use crate::config::EtcdConfig;
use crate::set::Limits;
use crate::set::Set;
use crate::target::Range;
use crate::value::{self, EtcdFormat};
use crate::wire::{RangeResponse, WatchResponse};

/// Reads a value, and writes what it was read as: what we write we must read the same.
pub fn value(bytes: &[u8]) {
    let Ok(endpoint) = value::parse(bytes) else { return };
    let written = value::format(&endpoint, EtcdFormat::Attributes);
    if let Ok(read) = value::parse(&written) {
        assert_eq!(read, endpoint, "{}", String::from_utf8_lossy(&written));
    } else {
        assert!(written.len() > 4096, "what we write can be read: {}", String::from_utf8_lossy(&written));
    }
}

/// Takes in the answer of a watch, and of a range.
pub fn watch(bytes: &[u8]) {
    let limits = Limits::of(&EtcdConfig::default());
    if let Ok(answer) = RangeResponse::decode(bytes) {
        let mut set = Set::new(limits);
        let whole = answer.kvs.into_iter().try_for_each(|pair| set.put(pair, None));
        let _ = whole.and_then(|()| set.update("fuzz"));
    }
    if let Ok(answer) = WatchResponse::decode(bytes) {
        let mut book = Book::new(Range { start: "a".into(), end: b"b".to_vec() }, limits);
        let _ = book.apply(answer);
    }
}
