//! `maglev`: calls with equal keys go to the same endpoint, with shares as even as they can be.
//!
//! A table of `tableSize` places is filled in turns: every endpoint has an order of its own over all places, by its key (its id,
//! else its first address), and takes the next free one when it is its turn; heavier ones have more turns. A call goes to the
//! endpoint at its hash's remainder by the table's size. The table is Envoy's, place by place. What a call's key is, and what
//! happens while endpoints are not READY, is as in [`ring_hash`](super::RingHash), with the following places in place of the
//! following points; but a call without key goes anywhere.
//!
//! **Bound.** Shares of equal endpoints differ by one place: with the default size, 65 537, by at most 2 % of themselves up to 1
//! 300 endpoints, and a larger table does the same for more. When one of `n` endpoints leaves, its share of the keys moves and a
//! few others, which is measured in this module's tests: at most `1/n` and one per cent more up to 1 000 endpoints. A pick costs
//! one division and one look-up. A change of keys or weights rebuilds the table in O(places · log places): some milliseconds.
//!
//! With `hashBalanceFactor` (percent, from 100) no endpoint takes more than that of the mean of calls in flight. Then all endpoints
//! are connected.
//!
//! **When not.** Lists that change all the time: [`rendezvous`](super::Rendezvous) and `ring_hash` move fewer keys per change.
//! More endpoints than places: those last by key get nothing.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::Maglev};
//! use serde_json::json;
//!
//! let typed = Maglev::from_config(&json!({"requestHashHeader": "x-user"}))?;
//! let by_name = PolicyRegistry::default().build("maglev", &json!({"tableSize": 131_071}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016; Envoy's load balancing policy
//! `maglev` and its fields.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use serde_json::Value;

use super::bounded::Bounds;
use super::config;
use super::hash::{self, CallHash};
use super::lookup::{DEFAULT_PLACES, Lookup, MOST_PLACES};
use super::members::Member;
use super::walk::Hashing;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

/// Equal keys to the same endpoint, as evenly as can be. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct Maglev {
    places: u32,
    hashing: Hashing<Lookup>,
}

impl Maglev {
    /// Its name in service configs.
    pub const NAME: &'static str = "maglev";

    /// From its configuration: `tableSize`, a prime up to 5 000 011 (default 65 537); `requestHashHeader`, a header's name (default
    /// none); `hashBalanceFactor`, percent from 100 (default none).
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let places = config::unsigned(Self::NAME, config, "tableSize", DEFAULT_PLACES)?;
        if !is_prime(places) || places > MOST_PLACES {
            let field = format!("{}.tableSize", Self::NAME);
            return Err(ConfigError::new(field, places, format!("a prime up to {MOST_PLACES}")));
        }
        let (by, bounds) = (CallHash::lenient(Self::NAME, config)?, Bounds::from_config(Self::NAME, config)?);
        Ok(Self { places, hashing: Hashing::new(by, bounds) })
    }
}

impl Policy for Maglev {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let places = self.places;
        self.hashing.rebuild(now, view, plan, |members| Lookup::new(fill(members, places)))
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= u64::from(number)).all(|divisor| u64::from(number) % divisor != 0)
}

/// Fills the table in rounds. A member that has `k` places has its next turn in the first round to come with `round · weight >= k ·
/// heaviest`; within a round members go in order. Rounds are not walked through: each member's next one is known.
fn fill(members: &[Member], places: u32) -> Box<[u32]> {
    let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1).max(1);
    let mut orders: Vec<Order> = members.iter().map(|member| Order::new(&member.key, places)).collect();
    let weighted = members.iter().zip(0..).filter(|(member, _)| member.weight > 0);
    let mut turns: BinaryHeap<Reverse<(u64, u32)>> = weighted.map(|(_, index)| Reverse((1, index))).collect();
    let mut table = vec![u32::MAX; places as usize];
    for _ in 0..places {
        let Some(Reverse((round, index))) = turns.pop() else { break };
        let order = &mut orders[index as usize];
        let place = order.next_free(&table);
        table[place] = index;
        order.taken += 1;
        let due = (order.taken * heaviest).div_ceil(u64::from(members[index as usize].weight));
        turns.push(Reverse((due.max(round + 1), index)));
    }
    table.into()
}

/// One member's order over the places: `start`, `start + skip`, `start + 2 · skip`, … modulo their number, a prime.
struct Order {
    next: u64,
    skip: u64,
    places: u64,
    /// How many places it has.
    taken: u64,
}

impl Order {
    fn new(key: &str, places: u32) -> Self {
        let places = u64::from(places);
        let (start, skip) = (hash::hash(key.as_bytes()), hash::seeded(key.as_bytes(), 1));
        Self { next: start % places, skip: skip % (places - 1) + 1, places, taken: 0 }
    }

    fn next_free(&mut self, table: &[u32]) -> usize {
        loop {
            let place = self.next as usize;
            self.next += self.skip;
            self.next -= if self.next >= self.places { self.places } else { 0 };
            if table[place] == u32::MAX {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests;
