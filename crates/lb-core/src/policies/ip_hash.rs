//! `ip_hash`: calls of one client go to the same endpoint, by the client's address.
//!
//! The address is the call's hash key or session, else the first element of the header `requestHashHeader`, which may be an address
//! or a list such as those of `x-forwarded-for` and `forwarded`. IPv4 and IPv6 addresses are hashed as numbers, so that it does not
//! matter how they are written; a port, brackets and quotes are left out; an IPv4 address within IPv6 is that IPv4 address; other
//! text is hashed as it is. A call without any goes anywhere.
//!
//! **Not verified.** Whoever makes the call, or passes it on, says what the address is. Use it to keep clients together, never to
//! tell who they are; somebody who sends a new address with every call can spread calls, or gather them at one endpoint.
//!
//! Endpoints are chosen as [`rendezvous`](super::Rendezvous) does, with its bounds: the clients of an endpoint that leaves are
//! spread over all others, and no other client moves.
//!
//! **When not.** Clients behind one gateway have one address, and all go to one endpoint: hash a user or a session instead.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::IpHash};
//! use serde_json::json;
//!
//! let typed = IpHash::from_config(&json!({"requestHashHeader": "x-forwarded-for"}))?;
//! let by_name = PolicyRegistry::default().build("ip_hash", &json!({"requestHashHeader": "forwarded"}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: RFC 7239 (`forwarded`); the idea and the name are those of widespread HTTP proxies.

use std::time::Instant;

use serde_json::Value;

use super::bounded::Bounds;
use super::hash::CallHash;
use super::lookup::{self, Lookup};
use super::walk::Hashing;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

/// Calls of one client address to the same endpoint. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct IpHash {
    groups: u32,
    hashing: Hashing<Lookup>,
}

impl IpHash {
    /// Its name in service configs.
    pub const NAME: &'static str = "ip_hash";

    /// From its configuration: `requestHashHeader`, the header with the address (default none); `tableSize` and `hashBalanceFactor`
    /// as in [`rendezvous`](super::Rendezvous).
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let groups = lookup::table_size(Self::NAME, config)?;
        let (by, bounds) = (CallHash::of_addresses(Self::NAME, config)?, Bounds::from_config(Self::NAME, config)?);
        Ok(Self { groups, hashing: Hashing::new(by, bounds) })
    }
}

impl Policy for IpHash {
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

    #[test]
    fn one_client_stays_however_it_is_written() {
        let config = json!({"requestHashHeader": "X-Forwarded-For"});
        let picker = rebuild(&mut IpHash::from_config(&config).unwrap(), &ready(50)).picker;
        let by_header = |value: &str| {
            let mut caller = Caller::new(1);
            caller.headers.append("x-forwarded-for", value.parse().unwrap());
            caller.slot(&*picker)
        };
        let home = by_header("192.0.2.7");
        assert_eq!((by_header("192.0.2.7:1234, 10.0.0.1"), by_header("::ffff:192.0.2.7")), (home, home));
        assert_eq!(Caller::new(1).with_key("192.0.2.7").slot(&*picker), home);
        let others: Vec<_> = (0..20).map(|last| by_header(&format!("192.0.2.{last}"))).collect();
        assert!(others.iter().any(|slot| *slot != home));
        // Without an address: anywhere. 1000 calls miss one of 50 with probability 2e-9.
        assert!(Caller::new(1).count(&*picker, 50, 1_000).iter().all(|count| *count > 0));
    }

    #[test]
    fn configuration_is_checked() {
        for (config, field) in [
            (json!({"requestHashHeader": "a-bin"}), "requestHashHeader"),
            (json!({"tableSize": 0}), "tableSize"),
            (json!({"hashBalanceFactor": 1}), "hashBalanceFactor"),
        ] {
            assert_eq!(IpHash::from_config(&config).unwrap_err().field, format!("ip_hash.{field}"));
        }
    }
}
