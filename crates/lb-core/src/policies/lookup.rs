//! A table of equal places for hashing policies, and how a race fills it.
//!
//! The race is rendezvous hashing: every endpoint sends a runner to every place, who arrives after a time drawn from an exponential
//! distribution of its weight's rate, by the endpoint's key alone; the first one there has the place. Each place so goes to an
//! endpoint with the probability of its share of all weight, and when an endpoint leaves, its places and no others change hands;
//! one that comes takes places from the others and moves none between them.
//!
//! Drawing `places · endpoints` times would take seconds. But the runners of one endpoint to all places together arrive as a
//! Poisson process, each at a place drawn at random: so the process of each endpoint is followed in order of time until every place
//! is taken. That takes about `places · (ln places + 1)` draws in all, however many endpoints there are.
//!
//! Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 1998; weights after
//! Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005.

use serde_json::Value;

use super::config;
use super::hash;
use super::members::Member;
use super::walk::Table;
use crate::entropy::Entropy;
use crate::policy::ConfigError;

/// What Envoy has for Maglev, a prime; a pick then touches 256 KiB.
pub(super) const DEFAULT_PLACES: u32 = 65_537;

/// Envoy's limit: 20 MB.
pub(super) const MOST_PLACES: u32 = 5_000_011;

/// How many arrivals per place are followed at a time. One in `e^4` places is still free after the first four.
const ARRIVALS: f64 = 4.0;

/// The field `tableSize` of tables that need no prime.
pub(super) fn table_size(policy: &str, config: &Value) -> Result<u32, ConfigError> {
    match config::unsigned(policy, config, "tableSize", DEFAULT_PLACES)? {
        size @ 1..=MOST_PLACES => Ok(size),
        other => Err(ConfigError::new(format!("{policy}.tableSize"), other, format!("a whole number from 1 to {MOST_PLACES}"))),
    }
}

/// Places of equal width: a hash leads to the place of its remainder.
#[derive(Debug)]
pub(super) struct Lookup {
    /// The member of each place; never empty.
    members: Box<[u32]>,
}

impl Lookup {
    /// A table with the member of each place. There must be one.
    pub(super) fn new(members: Box<[u32]>) -> Self {
        Self { members }
    }

    /// Rendezvous: the places go to the winners of the race.
    pub(super) fn race(members: &[Member], places: u32) -> Self {
        let mut table = Race::new(places);
        let weighted = members.iter().zip(0..).filter(|(member, _)| member.weight > 0);
        let mut runners: Vec<Runners> = weighted.map(|(member, index)| Runners::new(member, index)).collect();
        let weights: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
        let step = ARRIVALS * f64::from(places) / weights;
        let mut horizon = 0.0;
        while table.free > 0 {
            horizon += step;
            runners.iter_mut().for_each(|runners| runners.run_until(horizon, &mut table));
        }
        Self { members: table.winners }
    }
}

impl Table for Lookup {
    #[inline]
    fn places(&self) -> usize {
        self.members.len()
    }

    #[inline]
    fn find(&self, hash: u64) -> usize {
        (hash % self.members.len() as u64) as usize
    }

    #[inline]
    fn member(&self, place: usize) -> usize {
        self.members[place] as usize
    }

    fn width(&self, _place: usize) -> f64 {
        1.0 / self.members.len() as f64
    }
}

struct Race {
    winners: Box<[u32]>,
    times: Box<[f64]>,
    /// How many places nobody has reached.
    free: usize,
}

impl Race {
    fn new(places: u32) -> Self {
        let places = places as usize;
        Self { winners: vec![0; places].into(), times: vec![f64::INFINITY; places].into(), free: places }
    }

    #[inline]
    fn arrive(&mut self, place: usize, time: f64, member: u32) {
        if time < self.times[place] {
            self.free -= usize::from(self.times[place] == f64::INFINITY);
            (self.times[place], self.winners[place]) = (time, member);
        }
    }
}

/// The runners of one endpoint in order of their arrival.
struct Runners {
    member: u32,
    weight: f64,
    draws: Entropy,
    /// The next one's.
    time: f64,
    draw: u64,
}

impl Runners {
    fn new(member: &Member, index: u32) -> Self {
        let draws = Entropy::from_seed(hash::hash(member.key.as_bytes()));
        let mut runners = Self { member: index, weight: f64::from(member.weight), draws, time: 0.0, draw: 0 };
        runners.advance();
        runners
    }

    fn advance(&mut self) {
        self.draw = self.draws.draw();
        // Uniform in (0, 1]; the other half of the bits chooses the place.
        let uniform = ((self.draw >> 32) + 1) as f64 / (1_u64 << 32) as f64;
        self.time -= uniform.ln() / self.weight;
    }

    fn run_until(&mut self, horizon: f64, race: &mut Race) {
        while self.time <= horizon {
            let place = (u64::from(self.draw as u32) * race.winners.len() as u64) >> 32;
            race.arrive(place as usize, self.time, self.member);
            self.advance();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Members `m0`, `m1`, … with these weights.
    pub(in crate::policies) fn members(weights: &[u32]) -> Vec<Member> {
        weights.iter().enumerate().map(|(index, weight)| Member { key: format!("m{index}").into(), weight: *weight }).collect()
    }

    /// Whose each place is, by key.
    pub(in crate::policies) fn owners<T: Table>(table: &T, members: &[Member]) -> Vec<String> {
        (0..table.places()).map(|place| members[table.member(place)].key.to_string()).collect()
    }

    pub(in crate::policies) fn counts<T: Table>(table: &T, members: usize) -> Vec<usize> {
        let mut counts = vec![0; members];
        (0..table.places()).for_each(|place| counts[table.member(place)] += 1);
        counts
    }

    #[test]
    fn places_go_by_weight() {
        let weights = [1, 2, 3, 0, 10];
        let counts = counts(&Lookup::race(&members(&weights), DEFAULT_PLACES), 5);
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(weight) / 16.0;
            // Binomial: five sigma, none for a share of 0.
            let sigma = (65_537.0 * share * (1.0 - share)).sqrt();
            assert!((*count as f64 - 65_537.0 * share).abs() <= 5.0 * sigma, "{counts:?}");
        }
    }

    #[test]
    fn who_leaves_moves_its_own_places_and_no_others() {
        let mut all = members(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let before = owners(&Lookup::race(&all, 10_007), &all);
        let gone = all.remove(4);
        let after = owners(&Lookup::race(&all, 10_007), &all);
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || **before == *gone.key));
        assert!(after.iter().all(|owner| **owner != *gone.key));
    }

    #[test]
    fn more_weight_only_wins_places() {
        let (light, heavy) = (members(&[1, 1, 1]), members(&[1, 2, 1]));
        let before = owners(&Lookup::race(&light, 10_007), &light);
        let after = owners(&Lookup::race(&heavy, 10_007), &heavy);
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || after == "m1"));
    }

    #[test]
    fn the_way_of_calculating_is_that_of_the_definition() {
        // With one arrival at a time, followed for much longer than needed, the winners are the same.
        let all = members(&[3, 1, 2]);
        let mut slow = Race::new(101);
        for (member, index) in all.iter().zip(0..) {
            Runners::new(member, index).run_until(1e4, &mut slow);
        }
        assert_eq!(slow.winners, Lookup::race(&all, 101).members);
    }

    #[test]
    fn absurd_weights_end() {
        let all = members(&[1, u32::MAX, u32::MAX, 0]);
        assert_eq!(counts(&Lookup::race(&all, 1_009), 4).iter().sum::<usize>(), 1_009);
        assert_eq!(counts(&Lookup::race(&all[..1], 1), 1), [1]);
    }
}
