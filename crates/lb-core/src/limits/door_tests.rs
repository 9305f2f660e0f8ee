//! The limits before the pick, together.

use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::{Caller, Door, FloodLimit, KeyLimit, RateLimit, RateLimits, Shed, ShedBy};
use crate::hints::PickHints;
use crate::policies::testing::start;

#[derive(Default)]
struct Sum(u64);

impl std::hash::Hasher for Sum {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

struct Site {
    door: Door,
    now: Instant,
    headers: HeaderMap,
    hints: PickHints,
}

impl Site {
    fn new(limits: RateLimits) -> Self {
        let now = start();
        Self { door: Door::new(limits, now), now, headers: HeaderMap::new(), hints: PickHints::new() }
    }

    fn call(&self, method: &str) -> Result<(), Shed> {
        let caller = Caller { now: self.now, method, headers: &self.headers, hints: Some(&self.hints) };
        self.door.flood(self.now)?;
        self.door.admit(&caller, &BuildHasherDefault::<Sum>::default())
    }

    /// How many of so many calls pass.
    fn calls(&self, method: &str, calls: usize) -> usize {
        (0..calls).filter(|_| self.call(method).is_ok()).count()
    }

    fn tenant(&mut self, tenant: &str) {
        self.headers.insert("x-tenant", HeaderValue::from_str(tenant).unwrap());
    }
}

fn burst(calls: u32) -> RateLimit {
    RateLimit::per_second(1).unwrap().with_burst(calls).unwrap()
}

#[test]
fn a_method_has_its_own_limit_or_its_services_or_that_of_all_others() {
    let limits = RateLimits::new().method("a.A/One", burst(1)).service("a.A", burst(2)).other_methods(burst(3));
    let site = Site::new(limits);
    assert_eq!(site.calls("/a.A/One", 9), 1);
    assert_eq!(site.calls("/a.A/Two", 1) + site.calls("/a.A/Three", 9), 2, "one bucket for the methods of the service");
    assert_eq!(site.calls("/b.B/One", 2) + site.calls("/c.C/One", 9) + site.calls("", 1), 3, "one bucket for all others");
    let shed = site.call("/a.A/One").unwrap_err();
    assert_eq!(shed.by, ShedBy::Method { name: "/a.A/One".into(), limit: burst(1) });
    assert_eq!(shed.retry_after, Duration::from_secs(1));
    assert_eq!(shed.by.to_string(), "the limit of /a.A/One, 1 calls a second, 1 at once");
    let counts = site.door.counts(site.now);
    assert_eq!((counts.admitted, counts.shed_by_method, counts.shed()), (6, 26, 26));
    assert_eq!(counts.methods["/a.A"].shed, 8);
}

#[test]
fn a_key_comes_from_the_options_or_the_header_and_without_one_there_is_no_limit() {
    let limits = RateLimits::new().key(KeyLimit::by_header("X-Tenant", burst(2)).unwrap());
    let mut site = Site::new(limits);
    assert_eq!(site.calls("/a.A/One", 9), 9);
    site.tenant("red");
    assert_eq!(site.calls("/a.A/One", 9), 2);
    site.tenant("blue");
    assert_eq!(site.calls("/a.A/One", 9), 2);
    site.hints = site.hints.limit_key("green");
    assert_eq!(site.calls("/a.A/One", 9), 2);
    let shed = site.call("/a.A/One").unwrap_err();
    assert_eq!(shed.by, ShedBy::Key { key: "green".into(), limit: burst(2) });
    let keys = site.door.counts(site.now).keys.unwrap();
    assert_eq!((keys.in_use, keys.capacity, keys.crowded), (3, 65_536, 0));
}

#[test]
fn a_call_that_a_wider_limit_sheds_costs_the_narrower_ones_nothing() {
    let limits = RateLimits::new().channel(burst(3)).method("a.A/One", burst(5));
    let mut site = Site::new(limits.key(KeyLimit::by_header("x-tenant", burst(4)).unwrap()));
    site.tenant("red");
    assert_eq!(site.calls("/a.A/One", 9), 3);
    assert_eq!(site.call("/a.A/One").unwrap_err().by, ShedBy::Channel(burst(3)));
    let counts = site.door.counts(site.now);
    assert!((counts.methods["/a.A/One"].tokens - 2.0).abs() < 1e-9, "{counts:?}");
    assert_eq!((counts.shed_by_channel, counts.shed_by_method, counts.shed_by_key), (7, 0, 0));
    site.door = site.door.after(RateLimits { channel: None, ..site.door.limits().clone() }, site.now);
    assert_eq!(site.calls("/a.A/One", 9), 1, "the one the key had left");
}

#[test]
fn a_flood_is_shed_before_and_apart_from_everything_else() {
    let site = Site::new(RateLimits::promised());
    let passed = site.calls("/a.A/One", 5_000);
    let counts = site.door.counts(site.now);
    assert_eq!((counts.admitted, passed), (500, 500), "a tenth of a second of 5000");
    assert_eq!((counts.shed_by_flood, counts.floods, counts.flooding), (4_500, 1, true));
    assert!((counts.channel.unwrap().tokens - 1_000.0).abs() < 1e-6, "what is shed by the guard takes no token");
    assert_eq!(site.call("/a.A/One").unwrap_err().by, ShedBy::Flood(FloodLimit::promised()));
}

#[test]
fn limits_change_without_a_burst_and_counts_go_on() {
    let mut site = Site::new(RateLimits::new().channel(burst(5)).flood(FloodLimit::above(1_000).unwrap()));
    assert_eq!(site.calls("", 9), 5);
    site.door = site.door.after(RateLimits::new().channel(burst(50)), site.now);
    assert_eq!(site.calls("", 9), 0, "an empty bucket stays empty");
    site.now += Duration::from_secs(2);
    assert_eq!(site.calls("", 9), 2);
    site.door = site.door.after(RateLimits::new(), site.now);
    assert_eq!(site.calls("", 9), 9);
    let counts = site.door.counts(site.now);
    assert_eq!((counts.admitted, counts.shed_by_channel, counts.channel), (16, 20, None));
}

#[test]
fn the_same_limits_again_change_nothing() {
    let limits = RateLimits::promised().method("a.A/One", burst(2)).key(KeyLimit::by_option(burst(2)));
    let mut site = Site::new(limits.clone());
    site.hints = PickHints::new().limit_key("red");
    assert_eq!(site.calls("/a.A/One", 1), 1);
    for _ in 0..9 {
        site.door = site.door.after(limits.clone(), site.now);
    }
    assert_eq!(site.calls("/a.A/One", 9), 1);
}

#[test]
fn limits_are_read_and_what_is_wrong_is_named() {
    let config = json!({
        "flood": {"perSecond": 5000},
        "channel": {"perSecond": 1000, "burst": 1500},
        "endpoint": {"perSecond": 400},
        "key": {"header": "x-tenant", "perSecond": 10, "maxKeys": 100},
        "methods": [
            {"service": "a.A", "method": "One", "perSecond": 1},
            {"service": "a.A", "perSecond": 2},
            {"perSecond": 3},
        ],
        "unknown": true,
    });
    let rate = |calls: u32| RateLimit::per_second(calls).unwrap();
    let key = KeyLimit::by_header("x-tenant", rate(10)).unwrap().max_keys(100).unwrap();
    let expected = RateLimits::promised().endpoint(rate(400)).key(key).method("/a.A/One", rate(1)).service("a.A/", rate(2));
    assert_eq!(RateLimits::from_json(&config).unwrap(), expected.other_methods(rate(3)));
    assert!(!RateLimits::from_json(&json!({"channel": null})).unwrap().is_on());
    for (config, field) in [
        (json!([]), "rateLimits"),
        (json!({"channel": {}}), "channel.perSecond"),
        (json!({"endpoint": {"perSecond": 1, "burst": 0}}), "endpoint.burst"),
        (json!({"flood": {"perSecond": 0}}), "flood.perSecond"),
        (json!({"key": {"perSecond": 1, "header": "no header"}}), "key.header"),
        (json!({"key": {"perSecond": 1, "header": 7}}), "key.header"),
        (json!({"key": {"perSecond": 1, "maxKeys": 7}}), "key.maxKeys"),
        (json!({"key": {"perSecond": 1, "maxKeys": -7}}), "key.maxKeys"),
        (json!({"methods": {}}), "methods"),
        (json!({"methods": [{"method": "One", "perSecond": 1}]}), "methods[0].method"),
        (json!({"methods": [{"perSecond": 1}, {"perSecond": 2}]}), "methods[1]"),
        (json!({"methods": [{"service": "a", "perSecond": 1e9}]}), "methods[0].perSecond"),
    ] {
        assert_eq!(RateLimits::from_json(&config).unwrap_err().field, field, "{config}");
    }
}
