//! Busy neighbours: how much of its machine a server gets, over time.
//!
//! A server may always use what it was allocated, and more while its machine has room. On a contended machine the room comes and
//! goes: *tight* for a while (0.95 to 1.15 times the allocation, and held to 0.9 times it as soon as it wants more), then *relaxed*.
//! Any other machine has 1.6 to 4 times the allocation, but for rare short bursts of its neighbours.

use crate::dice::{Dice, Purpose};

/// Mean length of a tight or relaxed spell, in seconds.
const SPELL: f64 = 15.0;
/// Room on a tight machine, as a multiple of the allocation.
const TIGHT: (f64, f64) = (0.95, 1.15);
/// What a server is held to on a tight machine once it wants more than its allocation.
const HOBBLED: f64 = 0.9;
/// Room on any other machine.
const ROOMY: (f64, f64) = (1.6, 4.0);
/// Mean time between two bursts of the neighbours on a machine that is not contended, and their length, in seconds.
const BURST_EVERY: f64 = 30.0;
const BURST: f64 = 0.7;

/// What one server has of its machine now, and when that changes.
#[derive(Debug)]
pub(crate) struct Weather {
    dice: Dice,
    contended: bool,
    tight: bool,
    /// As a multiple of the allocation.
    headroom: f64,
    /// The room it has between bursts.
    usual: f64,
}

impl Weather {
    pub(crate) fn new(seed: u64, server: usize, contended: bool) -> Self {
        let mut dice = Dice::new(seed, Purpose::Weather, server);
        let tight = contended && dice.fraction() < 0.5;
        let usual = dice.uniform(ROOMY.0, ROOMY.1);
        let headroom = if tight { dice.uniform(TIGHT.0, TIGHT.1) } else { usual };
        Self { dice, contended, tight, headroom, usual }
    }

    /// The same room for ever, if it is never told to change.
    #[cfg(test)]
    pub(crate) fn steady(headroom: f64) -> Self {
        let dice = Dice::new(0, Purpose::Weather, 0);
        Self { dice, contended: false, tight: false, headroom, usual: headroom }
    }

    /// Changes, and says for how many seconds it stays so.
    pub(crate) fn change(&mut self, first: bool) -> f64 {
        if !first {
            self.tight = !self.tight;
            self.headroom = if self.tight { self.dice.uniform(TIGHT.0, TIGHT.1) } else { self.relaxed() };
        }
        match (self.contended, self.tight) {
            (true, _) => self.dice.exponential(SPELL),
            (false, true) => BURST,
            (false, false) => self.dice.exponential(BURST_EVERY),
        }
    }

    fn relaxed(&mut self) -> f64 {
        if self.contended {
            self.usual = self.dice.uniform(ROOMY.0, ROOMY.1);
        }
        self.usual
    }

    /// Cores for this many calls at once, of `cores` allocated.
    pub(crate) fn capacity(&self, calls: usize, cores: f64) -> f64 {
        if self.tight && calls as f64 > cores { HOBBLED * cores } else { self.headroom * cores }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contended_machine_is_tight_half_of_the_time() {
        let mut weather = Weather::new(1, 0, true);
        let (mut tight, mut all) = (0.0, 0.0);
        for change in 0..4_000 {
            let spell = weather.change(change == 0);
            all += spell;
            tight += if weather.tight { spell } else { 0.0 };
            let capacity = weather.capacity(1, 1.0);
            assert!(if weather.tight { (0.95..1.15).contains(&capacity) } else { (1.6..4.0).contains(&capacity) });
        }
        // 2 000 exponential spells each: sigma of the share is about 0.011.
        assert!((tight / all - 0.5).abs() < 0.056, "{}", tight / all);
    }

    #[test]
    fn wanting_more_than_the_allocation_is_punished_only_when_tight() {
        let mut weather = Weather::new(1, 0, true);
        while !weather.tight {
            weather.change(false);
        }
        assert!(weather.capacity(6, 6.5) >= 0.95 * 6.5);
        assert_eq!(weather.capacity(7, 6.5), 0.9 * 6.5);
        weather.change(false);
        assert!(weather.capacity(7, 6.5) >= 1.6 * 6.5);
    }
}
