//! Shares that operators have given to endpoints by hand.

use std::collections::BTreeMap;

use crate::endpoint::EndpointKey;

/// Remembered while the resolver does not list the endpoint.
#[derive(Debug, Default)]
pub(crate) struct Levers {
    shares: BTreeMap<EndpointKey, f64>,
}

impl Levers {
    /// Gives an endpoint this share; the full one, or more, takes the lever back. Less than a thousandth, and what is no number, is a
    /// thousandth: who wants none drains. Whether that changes anything.
    pub(crate) fn set(&mut self, endpoint: EndpointKey, share: f64) -> bool {
        if share >= 1.0 {
            return self.shares.remove(&endpoint).is_some();
        }
        // `max` ignores NaN.
        let share = share.max(0.001);
        self.shares.insert(endpoint, share) != Some(share)
    }

    pub(crate) fn get(&self, endpoint: &EndpointKey) -> Option<f64> {
        if self.shares.is_empty() { None } else { self.shares.get(endpoint).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_within_bounds_and_taken_back_by_the_full_one() {
        let (mut levers, key) = (Levers::default(), EndpointKey::from("a:1"));
        assert!(!levers.set(key.clone(), 1.0) && levers.get(&key).is_none());
        assert!(levers.set(key.clone(), 0.3) && !levers.set(key.clone(), 0.3));
        for nonsense in [-1.0, 0.0, f64::NAN, f64::NEG_INFINITY] {
            levers.set(key.clone(), nonsense);
            assert_eq!(levers.get(&key), Some(0.001), "{nonsense}");
        }
        assert!(levers.set(key.clone(), f64::INFINITY) && levers.get(&key).is_none());
    }
}
