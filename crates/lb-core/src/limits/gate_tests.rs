//! The limits of endpoints, at their gates.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::{EndpointLimit, EndpointLimits, GradientConfig, RateLimit};
use crate::endpoint::Endpoint;
use crate::feedback::Done;
use crate::gate::{Entry, Gate, GateSignal, Refusal};
use crate::hints::PickHints;
use crate::pick::PickArgs;
use crate::policies::testing::{slot, start};
use crate::scratch::Scratch;
use crate::stats::Outcome;
use crate::wishes::Misfit;

struct Site {
    limits: EndpointLimits,
    endpoint: Endpoint,
    gate: Arc<EndpointLimit>,
    now: Instant,
}

impl Site {
    fn new(rate: Option<RateLimit>, concurrency: Option<GradientConfig>) -> Self {
        let endpoint = Endpoint::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let limits = EndpointLimits::new(rate, concurrency);
        let gate = limits.gate(&endpoint, &GateSignal::default());
        Self { limits, endpoint, gate, now: start() }
    }

    fn with<T>(&self, ask: impl FnOnce(&Entry<'_>) -> T) -> T {
        let (headers, hints, mut scratch) = (HeaderMap::new(), PickHints::new(), Scratch::new(1));
        ask(&Entry::new(&PickArgs::new(self.now, "/a.A/One", &headers, &hints, &mut scratch), &self.endpoint))
    }

    fn enter(&self) -> Result<u64, Refusal> {
        let expected = self.with(|entry| self.gate.refusal(entry));
        let entered = self.with(|entry| self.gate.enter(entry));
        assert_eq!(entered.as_ref().err(), expected.as_ref(), "what it would say it says");
        entered
    }

    fn leave(&self, token: u64, outcome: Outcome, code: Option<i32>) {
        let done = Done::new(slot(0), self.now, Duration::from_millis(5), outcome).with_code(code);
        self.gate.left(token, &done);
    }

    /// A window of calls that end like this, 20 at a time.
    fn window(&mut self, outcome: Outcome, code: Option<i32>) -> u32 {
        for _ in 0..5 {
            let tokens: Vec<u64> = std::iter::from_fn(|| self.enter().ok()).take(20).collect();
            self.now += Duration::from_millis(30);
            tokens.into_iter().for_each(|token| self.leave(token, outcome, code));
        }
        self.gate.info(self.now).concurrency.unwrap()
    }
}

fn rate() -> RateLimit {
    RateLimit::per_second(10).unwrap().with_burst(2).unwrap()
}

#[test]
fn an_endpoint_at_its_rate_says_when_to_come_again() {
    let mut site = Site::new(Some(rate()), None);
    let first = site.enter().unwrap();
    site.enter().unwrap();
    let refusal = site.enter().unwrap_err();
    assert_eq!(refusal, Refusal::rate_limited(site.now + Duration::from_millis(100)));
    assert!(!refusal.soft && refusal.reason == Misfit::RateLimited);
    site.gate.unused(first);
    assert!(site.enter().is_ok(), "an attempt that was not made costs nothing");
    site.now += Duration::from_millis(100);
    assert!(site.enter().is_ok());
    let counts = site.limits.counts();
    assert_eq!((counts.admitted, counts.rate_limited, counts.at_limit), (3, 1, 0));
}

#[test]
fn an_endpoint_at_its_concurrency_takes_the_next_when_one_ends_in_whatever_way() {
    let site = Site::new(None, Some(GradientConfig::new().initial(2).unwrap().between(1, 2).unwrap()));
    for end in [Outcome::Success, Outcome::Failure, Outcome::Cancelled] {
        let (first, second) = (site.enter().unwrap(), site.enter().unwrap());
        assert_eq!(site.enter().unwrap_err().reason, Misfit::AtLimit);
        site.leave(first, end, None);
        let third = site.enter().unwrap();
        site.gate.unused(third);
        site.leave(second, end, Some(5));
        assert_eq!(site.gate.info(site.now).in_flight, 0);
    }
}

#[test]
fn a_call_that_the_rate_refuses_does_not_count_at_once() {
    let site = Site::new(Some(rate()), Some(GradientConfig::new()));
    let tokens: Vec<u64> = (0..9).filter_map(|_| site.enter().ok()).collect();
    let info = site.gate.info(site.now);
    assert_eq!((tokens.len(), info.in_flight, info.concurrency), (2, 2, Some(20)));
    assert!(info.tokens.is_some_and(|tokens| tokens < 1e-6));
}

#[test]
fn congestion_shrinks_the_limit_and_what_the_server_says_of_the_call_does_not() {
    for (code, shrinks) in [(Some(14), true), (Some(8), true), (Some(4), true), (None, true), (Some(5), false), (Some(13), false)] {
        let mut site = Site::new(None, Some(GradientConfig::new()));
        let limit = (0..10).map(|_| site.window(Outcome::Failure, code)).last().unwrap();
        assert_eq!(limit < 20, shrinks, "{code:?}: {limit}");
    }
    let mut site = Site::new(None, Some(GradientConfig::new()));
    assert_eq!((0..10).map(|_| site.window(Outcome::Cancelled, None)).last(), Some(20));
    assert!((0..10).map(|_| site.window(Outcome::Success, None)).last() > Some(20));
}

#[test]
fn limits_change_while_calls_are_in_flight() {
    let mut site = Site::new(None, None);
    let before = site.enter().unwrap();
    assert!((0..1_000).all(|_| site.enter().is_ok()), "off");
    assert_eq!(site.limits.counts().admitted, 0, "and costs nothing");
    site.limits.set_concurrency(Some(GradientConfig::new().initial(1).unwrap().between(1, 9).unwrap()));
    site.leave(before, Outcome::Success, None);
    assert_eq!(site.gate.info(site.now).in_flight, 0, "those from before do not count");
    let counted = site.enter().unwrap();
    site.limits.set_concurrency(None);
    site.limits.set_rate(Some(rate()));
    site.leave(counted, Outcome::Success, None);
    assert_eq!(site.gate.info(site.now).in_flight, 0);
    assert_eq!((0..9).filter(|_| site.enter().is_ok()).count(), 2);
    site.now += Duration::from_millis(100);
    site.limits.set_rate(Some(RateLimit::per_second(1000).unwrap()));
    assert!((0..9).filter(|_| site.enter().is_ok()).count() >= 1);
    site.limits.set_rate(None);
    assert_eq!(site.gate.info(site.now).tokens, None);
}
