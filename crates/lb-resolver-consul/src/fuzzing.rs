//! What the fuzz targets call; built only for them.

use crate::convert::Reading;
use crate::model;

/// Reads an answer of a catalogue, or of a prepared query, and makes endpoints of it.
pub fn answer(bytes: &[u8]) {
    for entries in [model::entries(bytes), model::prepared(bytes)].into_iter().flatten() {
        let count = entries.len();
        for passing in [false, true] {
            let converted = Reading { passing, prefix: String::new() }.convert(entries.clone());
            assert!(converted.endpoints.len() + converted.failing + converted.unusable <= count, "an entry counts once");
            assert!(converted.endpoints.is_sorted_by(|one, other| one.key() < other.key()), "sorted, and each key once");
            assert!(converted.complaints.len() <= 9, "complaints are few: {:?}", converted.complaints);
        }
    }
}
