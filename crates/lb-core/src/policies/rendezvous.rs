//! `rendezvous`: calls with equal keys go to the same endpoint, and when endpoints change no key moves that need not.
//!
//! Every key asks all endpoints for a score, and goes to the best; an endpoint that leaves gives its keys to the next best of each,
//! spread over all others, and no other key moves. Scores depend on the endpoint's key (its id, else its first address), so all
//! clients agree, and on its weight. Asking all endpoints at every pick would cost more the more there are, so keys are put into
//! `tableSize` groups by their hash, and the winner of each group is decided beforehand: in one race over all groups whose cost
//! does not depend on the number of endpoints, and which gives exactly the winners that asking would.
//!
//! What a call's key is, and what happens while endpoints are not READY, is as in [`ring_hash`](super::RingHash): the call goes on
//! to the next group's winner. A call without key goes anywhere.
//!
//! **Bound.** One of `n` endpoints that leaves moves its own keys, `1/n` of all; one that comes takes as many. Shares of equal
//! endpoints differ by about `√(n/tableSize)` of themselves: with the default of 65 537 groups 1 % for ten endpoints, 12 % for a
//! thousand. A pick costs one division and one look-up. A change of keys or weights rebuilds the table in O(tableSize · log
//! tableSize + n), some ten milliseconds.
//!
//! With `hashBalanceFactor` (percent, from 100) no endpoint takes more than that of the mean of calls in flight. Then all endpoints
//! are connected.
//!
//! **When not.** Shares should be even to the per cent: [`maglev`](super::Maglev). Other gRPC clients should agree on places:
//! `ring_hash`.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::Rendezvous};
//! use serde_json::json;
//!
//! let typed = Rendezvous::from_config(&json!({"requestHashHeader": "x-user"}))?;
//! let by_name = PolicyRegistry::default().build("rendezvous", &json!({"tableSize": 1_000_000}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 1998.

use std::time::Instant;

use serde_json::Value;

use super::bounded::Bounds;
use super::hash::CallHash;
use super::lookup::{self, Lookup};
use super::walk::Hashing;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

/// Equal keys to the same endpoint, and no key moves that need not. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct Rendezvous {
    groups: u32,
    hashing: Hashing<Lookup>,
}

impl Rendezvous {
    /// Its name in service configs.
    pub const NAME: &'static str = "rendezvous";

    /// From its configuration: `tableSize`, 1 to 5 000 011 (default 65 537); `requestHashHeader`, a header's name (default none);
    /// `hashBalanceFactor`, percent from 100 (default none).
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let groups = lookup::table_size(Self::NAME, config)?;
        let (by, bounds) = (CallHash::lenient(Self::NAME, config)?, Bounds::from_config(Self::NAME, config)?);
        Ok(Self { groups, hashing: Hashing::new(by, bounds) })
    }
}

impl Policy for Rendezvous {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let groups = self.groups;
        self.hashing.rebuild(now, view, plan, |members| Lookup::race(members, groups))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policies::testing::{Caller, ready, rebuild};

    fn policy() -> Rendezvous {
        Rendezvous::from_config(&json!({})).unwrap()
    }

    #[test]
    fn configuration_table() {
        let groups = |config| Rendezvous::from_config(&config).map(|policy| policy.groups);
        assert_eq!((groups(json!({})), groups(json!({"tableSize": 1}))), (Ok(65_537), Ok(1)));
        for bad in [json!(0), json!(5_000_012), json!(-1), json!("7")] {
            assert_eq!(groups(json!({"tableSize": bad})).unwrap_err().field, "rendezvous.tableSize", "{bad}");
        }
    }

    #[test]
    fn one_of_n_that_leaves_moves_its_own_keys_only() {
        const KEYS: usize = 5_000;
        let mut caller = Caller::new(1);
        for count in [3, 10, 100] {
            let view = ready(count);
            let before = caller.slots_of_keys(&*rebuild(&mut policy(), &view).picker, KEYS);
            for gone in [0, count / 2, count - 1] {
                let mut rest = view.clone();
                rest.remove(gone);
                let after = caller.slots_of_keys(&*rebuild(&mut policy(), &rest).picker, KEYS);
                let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
                assert_eq!(moved, before.iter().filter(|slot| slot.index() == gone).count(), "no other key moves");
                assert!(moved as f64 <= (1.0 / count as f64 + 0.01) * KEYS as f64, "{moved} of {KEYS} with {count}");
            }
        }
    }

    #[test]
    fn keys_of_an_endpoint_that_fails_spread_over_all_others() {
        let mut view = ready(5);
        let mut caller = Caller::new(1);
        let before = caller.slots_of_keys(&*rebuild(&mut policy(), &view).picker, 5_000);
        view[2].state = crate::connectivity::ConnectivityState::TransientFailure;
        let after = caller.slots_of_keys(&*rebuild(&mut policy(), &view).picker, 5_000);
        let mut heirs = [0_usize; 5];
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before.index() == 2);
            heirs[after.index()] += usize::from(before.index() == 2);
        }
        // About 1000 keys over four heirs: binomial with sigma 14, five sigma are 70.
        assert!(heirs[2] == 0 && [0, 1, 3, 4].iter().all(|heir| heirs[*heir].abs_diff(250) < 90), "{heirs:?}");
    }
}
