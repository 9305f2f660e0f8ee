//! Chance of the shapes a simulation needs, from one repeatable source.

use std::f64::consts::TAU;

use lb_core::Entropy;

/// A generator of its own for each purpose: what one purpose draws never shifts what another draws, so that all policies meet the
/// same arrivals, works and disturbances.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Entropy);

impl Dice {
    /// The generator of this seed for this purpose and this one of many.
    pub(crate) fn new(seed: u64, purpose: Purpose, index: usize) -> Self {
        let spread = Entropy::mix(seed) ^ Entropy::mix(((purpose as u64) << 32) | index as u64).rotate_left(17);
        Self(Entropy::from_seed(Entropy::mix(spread)))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.draw()
    }

    /// Uniform in [0, 1).
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.fraction()
    }

    pub(crate) fn uniform(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.fraction()
    }

    /// Uniform below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.fraction() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.fraction()).ln()
    }

    /// Normal (Box and Muller 1958; the second of the pair is not kept, so that every call draws alike).
    pub(crate) fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.fraction()).ln()).sqrt();
        mean + deviation * radius * (TAU * self.fraction()).cos()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// What a generator is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Arrivals = 1,
    Weather,
    Placement,
    Caller,
    Failures,
    Oracle,
    Resolver,
}

/// Ranks drawn so that rank `k` (from 1) comes in proportion to `1 / k^skew`.
#[derive(Debug)]
pub(crate) struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(count: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let weight = |rank: usize| (rank as f64).powf(-skew);
        let cumulative = (1..=count)
            .map(|rank| {
                sum += weight(rank);
                sum
            })
            .collect();
        Self { cumulative }
    }

    /// A rank from 0.
    pub(crate) fn draw(&self, dice: &mut Dice) -> usize {
        let point = dice.fraction() * self.cumulative.last().copied().unwrap_or(0.0);
        self.cumulative.partition_point(|sum| *sum <= point).min(self.cumulative.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 100_000;

    fn mean(mut draw: impl FnMut(&mut Dice) -> f64) -> f64 {
        let mut dice = Dice::new(1, Purpose::Arrivals, 0);
        (0..DRAWS).map(|_| draw(&mut dice)).sum::<f64>() / DRAWS as f64
    }

    #[test]
    fn means_are_within_five_sigma() {
        // Sigma of the mean is 1 / sqrt(DRAWS) = 0.0032 for both.
        assert!((mean(|dice| dice.exponential(1.0)) - 1.0).abs() < 0.016);
        assert!((mean(|dice| dice.normal(2.0, 1.0)) - 2.0).abs() < 0.016);
        // E max(0, N(80, 80)) = 80 (Φ(1) + φ(1)) = 86.66; its deviation is below 70, sigma of the mean 0.22.
        assert!((mean(|dice| dice.normal(80.0, 80.0).max(0.0)) - 86.66).abs() < 1.1);
    }

    #[test]
    fn the_first_of_two_ranks_comes_twice_as_often_with_skew_1() {
        let zipf = Zipf::new(2, 1.0);
        // Binomial with p = 2/3: sigma of the share is 0.0015.
        assert!((mean(|dice| if zipf.draw(dice) == 0 { 1.0 } else { 0.0 }) - 2.0 / 3.0).abs() < 0.0075);
    }

    #[test]
    fn purposes_and_indexes_are_independent_and_repeatable() {
        let first = |purpose, index| Dice::new(7, purpose, index).bits();
        assert_eq!(first(Purpose::Weather, 3), first(Purpose::Weather, 3));
        assert_ne!(first(Purpose::Weather, 3), first(Purpose::Weather, 4));
        assert_ne!(first(Purpose::Weather, 3), first(Purpose::Caller, 3));
    }

    #[test]
    fn a_shuffle_keeps_everything() {
        let mut items: Vec<u32> = (0..100).collect();
        Dice::new(1, Purpose::Placement, 0).shuffle(&mut items);
        assert_ne!(items[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..100));
    }
}
