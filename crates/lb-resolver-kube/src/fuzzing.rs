//! What the fuzz targets call; built only for them.

use crate::known::Known;
use crate::merge::Merge;
use crate::nodes::Nodes;
use crate::slice::{Message, Page, Slice};
use crate::target::PortChoice;
use crate::traits::Traits;

/// Bytes of slices that are kept.
const MOST: usize = 1 << 20;

/// Reads a page of a list, and makes endpoints of it.
pub fn list(bytes: &[u8]) {
    let Ok(page) = serde_json::from_slice::<Page>(bytes) else { return };
    let mut known = Known::new(MOST);
    for slice in page.items.into_iter().flatten() {
        let _ = known.put(slice, bytes.len());
    }
    merge(known.slices());
}

/// Reads the lines of a watch, and makes endpoints of what they leave.
pub fn watch(bytes: &[u8]) {
    let mut known = Known::new(MOST);
    for line in bytes.split(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Message>(line) {
            Ok(Message::Added(slice) | Message::Modified(slice)) => drop(known.put(slice, line.len())),
            Ok(Message::Deleted(slice)) => known.remove(&slice.metadata.name),
            Ok(Message::Bookmark(_) | Message::Error(_)) | Err(_) => {}
        }
    }
    merge(known.slices());
}

fn merge<'a>(slices: impl Iterator<Item = &'a Slice> + Clone) {
    for port in [PortChoice::Any, PortChoice::Number(80), PortChoice::Named("grpc".into())] {
        let merge = Merge { port, traits: Traits::new("evenkeel.dev"), terminating_fallback: true, seed: 1 };
        let (once, again) = (merge.merge(slices.clone(), &Nodes::default()), merge.merge(slices.clone(), &Nodes::default()));
        assert_eq!(once, again, "the same slices make the same endpoints");
    }
}
