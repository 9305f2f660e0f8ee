//! Recognising a constraint without reading its words.
//!
//! Calls of one kind carry clones of the same wishes, and clones share their words: the words stand at the same addresses. So a channel clone
//! notes where it found the constraint of its last calls, by those addresses, and looks there first. It takes the entry only if every
//! address is the one that the entry was built from; whose words stand elsewhere finds the same entry by what they say. A note is a guess and
//! may be wrong in any way: of another generation, of another constraint, or of none.

use std::ptr;
use std::sync::Arc;

use crate::attributes::Locality;
use crate::endpoint::EndpointKey;

use super::derived::{Entry, Place, Wanted};

impl Wanted<'_> {
    /// What notes are kept by: some address of each part.
    #[inline]
    pub(super) fn trace(&self) -> u64 {
        let word = self.hints.require.first().map_or(0, |word| address(word));
        let name = self.hints.exclude.first().map_or(0, |name| address(name.as_str()));
        let place = match self.place {
            Place::Within(place) => address(&place.region),
            Place::Anywhere | Place::Preferred => 0,
        };
        // Each turned by another number of bits: of equal length, they stand in equal distances.
        word ^ name.rotate_left(17) ^ place.rotate_left(31) ^ self.policy as u64
    }

    /// Whether the entry was built from clones of the very same words. Knows no pinned call and none that prefers names.
    #[inline]
    pub(super) fn is_clone(&self, entry: &Entry) -> bool {
        let place = match (self.place, &entry.locality) {
            (Place::Anywhere, None) => true,
            (Place::Within(place), Some(known)) => is_same_place(place, known),
            _ => false,
        };
        place
            && entry.policy == self.policy
            && entry.pin.is_none()
            && self.hints.pin.is_none()
            && entry.prefer.is_empty()
            && are_same(&entry.require, &self.hints.require, |word: &Arc<str>| word)
            && are_same(&entry.exclude, &self.hints.exclude, EndpointKey::as_str)
    }
}

#[inline]
fn address(text: &str) -> u64 {
    text.as_ptr().addr() as u64
}

#[inline]
fn is_same_place(one: &Locality, other: &Locality) -> bool {
    ptr::eq(&*one.region, &*other.region) && ptr::eq(&*one.zone, &*other.zone) && ptr::eq(&*one.sub_zone, &*other.sub_zone)
}

#[inline]
fn are_same<T>(one: &[T], other: &[T], text: impl Fn(&T) -> &str) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| ptr::eq(text(one), text(other)))
}
