//! Sets of defaults for kinds of programs, by the name that the key `preset` gives.
//!
//! | preset | for | what differs from the defaults |
//! |---|---|---|
//! | `client` | a client of one or a few services | connect within 30 s, PING after 30 s and wait 5 s, failover after 10 s, 3 retries 1 s apart, health polled every 30 s within 5 s, sessions for 5 min, DNS at least every 30 s |
//! | `cloud` | calls to fleets that come and go | calls 30 s, 3 retries with growing waits, health polled every 5 s within 2 s with a degraded state, circuit breakers, a queue, 1000 calls a second with bursts of 1500, floods above 5000 |
//! | `gateway` | what stands before many services | calls 30 s, 2 retries from 100 ms, health checks, circuit breakers, sessions for 30 min, recovery by steps |

use serde_json::{Value, json};

/// What a preset says; nothing for `none`.
pub(crate) fn tree(name: &str) -> Option<Value> {
    let mut tree = match name {
        "client" => json!({
            "connectTimeout": "30s",
            "transport": {"keepaliveTime": "30s", "keepaliveTimeout": "5s"},
            "failover": {"failoverAfter": "10s"},
            "retry": {"maxAttempts": 4, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 1},
            "healthCheck": {"mode": "poll", "interval": "30s", "timeout": "5s", "healthyThreshold": 1, "unhealthyThreshold": 1},
            "sessions": {"ttl": "5m"}
        }),
        "cloud" => json!({
            "timeout": "30s",
            "retry": {"maxAttempts": 4},
            "healthCheck": {"mode": "poll", "interval": "5s", "timeout": "2s", "healthyThreshold": 2, "unhealthyThreshold": 3, "degraded": true},
            "circuitBreaker": {},
            "queue": {},
            "rateLimits": {"channel": {"perSecond": 1000, "burst": 1500}, "flood": {"perSecond": 5000}}
        }),
        "gateway" => json!({
            "timeout": "30s",
            "retry": {"maxAttempts": 3, "initialBackoff": "100ms", "backoffMultiplier": 2},
            "healthCheck": {},
            "circuitBreaker": {},
            "sessions": {"ttl": "30m"},
            "recovery": {"steps": {}}
        }),
        _ => return None,
    };
    if name == "client" && cfg!(feature = "dns") {
        tree["dns"] = json!({"timeout": "10s", "refreshCeiling": "30s"});
    }
    Some(tree)
}
