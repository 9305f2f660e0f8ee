//! The slices of one service, as far as they are known.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::slice::Slice;

/// By name; bounded by the JSON they came as.
#[derive(Debug)]
pub(crate) struct Known {
    slices: BTreeMap<String, (Slice, usize)>,
    bytes: usize,
    most: usize,
}

impl Known {
    /// Nothing, and `most` bytes to grow to.
    pub(crate) fn new(most: usize) -> Self {
        Self { slices: BTreeMap::new(), bytes: 0, most }
    }

    /// Adds a slice of that many bytes, in place of the one of the same name. If there is no room nothing changes.
    pub(crate) fn put(&mut self, slice: Slice, bytes: usize) -> Result<(), Failure> {
        let before = self.slices.get(&slice.metadata.name).map_or(0, |(_, bytes)| *bytes);
        let all = self.bytes - before + bytes;
        if all > self.most {
            return Err(too_much(self.most));
        }
        self.bytes = all;
        self.slices.insert(slice.metadata.name.clone(), (slice, bytes));
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some((_, bytes)) = self.slices.remove(name) {
            self.bytes -= bytes;
        }
    }

    pub(crate) fn slices(&self) -> impl Iterator<Item = &Slice> + Clone {
        self.slices.values().map(|(slice, _)| slice)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

/// More than the bound.
pub(crate) fn too_much(most: usize) -> Failure {
    Failure::malformed(format!("the answer is larger than {most} bytes, which is the bound set"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::Metadata;

    fn slice(name: &str) -> Slice {
        let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
        Slice { metadata, address_type: "IPv4".to_owned(), endpoints: None, ports: None }
    }

    #[test]
    fn the_bound_is_on_what_there_is() {
        let mut known = Known::new(10);
        known.put(slice("a"), 5).unwrap();
        known.put(slice("b"), 5).unwrap();
        known.put(slice("b"), 4).unwrap();
        assert!(known.put(slice("c"), 2).unwrap_err().message.contains("larger than 10 bytes"));
        assert!(known.put(slice("b"), 6).is_err());
        assert_eq!(known.slices().count(), 2, "what there is stays");
        known.remove("a");
        known.remove("a");
        known.put(slice("c"), 6).unwrap();
        assert_eq!(known.slices().map(|slice| slice.metadata.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }
}
