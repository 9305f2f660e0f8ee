//! A list of a few.

use std::sync::Arc;

/// Observers that want to hear more of a call or an attempt: one for each that observes the channel and does. Few channels have more than two, so
/// that two have a place and others cost an allocation. With so few, asking each place is cheaper than a general list's way of going on.
pub(super) struct Few<T: ?Sized> {
    first: Option<Arc<T>>,
    second: Option<Arc<T>>,
    #[expect(clippy::box_collection, reason = "a word in every call rather than three")]
    others: Option<Box<Vec<Arc<T>>>>,
}

impl<T: ?Sized> Few<T> {
    pub(super) const fn new() -> Self {
        Self { first: None, second: None, others: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(super) fn push(&mut self, one: Arc<T>) {
        if self.first.is_none() {
            self.first = Some(one);
        } else if self.second.is_none() {
            self.second = Some(one);
        } else {
            self.push_other(one);
        }
    }

    #[cold]
    fn push_other(&mut self, one: Arc<T>) {
        self.others.get_or_insert_default().push(one);
    }

    /// In the order in which they came.
    #[inline]
    pub(super) fn for_each(&self, mut each: impl FnMut(&T)) {
        if let Some(one) = &self.first {
            each(one);
        }
        if let Some(one) = &self.second {
            each(one);
        }
        if let Some(others) = &self.others {
            Self::each_other(others, &mut each);
        }
    }

    #[cold]
    fn each_other(others: &[Arc<T>], each: &mut dyn FnMut(&T)) {
        others.iter().for_each(|one| each(one));
    }
}

impl<T: ?Sized> Clone for Few<T> {
    fn clone(&self) -> Self {
        Self { first: self.first.clone(), second: self.second.clone(), others: self.others.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_came_are_there_in_order() {
        let mut few = Few::new();
        for count in 0..6 {
            let (mut found, mut of_clone) = (Vec::new(), Vec::new());
            few.for_each(|one| found.push(*one));
            few.clone().for_each(|one| of_clone.push(*one));
            assert_eq!(found, (0..count).collect::<Vec<_>>());
            assert_eq!(of_clone, found);
            few.push(Arc::new(count));
        }
    }
}
