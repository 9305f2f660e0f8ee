//! How many endpoints there should be.
//!
//! The demand is the load of all healthy endpoints, counted in endpoints that are full; its trend ([`Forecast`]) says what it will be when an
//! endpoint asked for now would be there. Too much or too little of either is advised against once, then not again until that had
//! time to work.
//!
//! **Bound.** Advice leads to a load between both limits or as near as whole endpoints get, so that following it never calls for the
//! opposite. Linear in the endpoints.
//!
//! **When not.** Where an autoscaler measures the servers itself, its figures are better than a client's.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::LbEvent;
use crate::policy::ConfigError;

use super::forecast::Forecast;
use super::load::Load;
use super::overload::percent;
use super::seconds;

/// When to advise what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ScalingConfig {
    /// The load to aim at, as a share of capacity; default 0.6.
    pub target: f64,
    /// More endpoints above this load; default 0.8.
    pub above: f64,
    /// Fewer below this load; default 0.4.
    pub below: f64,
    /// Never fewer than this; default 1.
    pub least: u32,
    /// Never more than this; default no limit.
    pub most: u32,
    /// How long an endpoint takes to be there, so how far to look ahead; default 60 s.
    #[serde(with = "seconds", rename = "aheadSeconds")]
    pub ahead: Duration,
    /// The least time between advice and more endpoints; default 60 s.
    #[serde(with = "seconds", rename = "pauseBeforeMoreSeconds")]
    pub pause_before_more: Duration,
    /// The least time between advice and fewer endpoints; default 300 s, because taking away too early costs more than too late.
    #[serde(with = "seconds", rename = "pauseBeforeFewerSeconds")]
    pub pause_before_fewer: Duration,
}

/// Watches the load and advises.
///
/// ```
/// use std::time::Duration;
/// use lb_core::advice::{Load, ScalingSignal};
///
/// let busy: Vec<Load> = serde_json::from_str(r#"[{"endpoint": "10.0.0.1:1", "inFlight": 90, "capacity": 100}]"#)?;
/// let advice = ScalingSignal::default().observe(Duration::ZERO, &busy).expect("90 % is too much");
/// assert_eq!((advice.current, advice.desired), (1, 2));
/// println!("{}", advice.event());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScalingSignal {
    config: ScalingConfig,
    demand: Forecast,
    /// When something was advised last, in seconds.
    #[serde(default, with = "seconds::option")]
    advised: Option<Duration>,
}

/// How many endpoints there should be, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ScalingAdvice {
    /// Healthy endpoints now.
    pub current: u32,
    /// How many there should be.
    pub desired: u32,
    /// Their mean load as a share of their capacity.
    pub load: f64,
    /// What it would be after [`ScalingConfig::ahead`].
    pub expected: f64,
    /// In words.
    pub reason: Arc<str>,
}

impl Default for ScalingConfig {
    fn default() -> Self {
        Self {
            target: 0.6,
            above: 0.8,
            below: 0.4,
            least: 1,
            most: u32::MAX,
            ahead: Duration::from_secs(60),
            pause_before_more: Duration::from_secs(60),
            pause_before_fewer: Duration::from_secs(300),
        }
    }
}

impl ScalingConfig {
    /// The same configuration if it makes sense: 0 < `below` < `target` < `above`, and `least` ≤ `most`.
    ///
    /// # Errors
    /// The first field that does not.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let Self { target, above, below, least, most, .. } = self;
        match () {
            () if below <= 0.0 || below.is_nan() => Err(ConfigError::new("below", below, "a share above 0")),
            () if target <= below || target.is_nan() => {
                Err(ConfigError::new("target", target, format!("a share above {below}, the limit below")))
            }
            () if above <= target || !above.is_finite() => {
                Err(ConfigError::new("above", above, format!("a share above {target}, the target")))
            }
            () if most < least => Err(ConfigError::new("most", most, format!("a number from {least}, the least"))),
            () => Ok(self),
        }
    }
}

impl ScalingSignal {
    /// With a configuration of one's own.
    ///
    /// # Errors
    /// A configuration that is not [`checked`](ScalingConfig::checked).
    pub fn new(config: ScalingConfig) -> Result<Self, ConfigError> {
        Ok(Self { config: config.checked()?, ..Self::default() })
    }

    /// What it was made with.
    pub fn config(&self) -> &ScalingConfig {
        &self.config
    }

    /// Looks at the loads, best about once a second, and says so if there should be more or fewer endpoints.
    ///
    /// Endpoints that are not healthy count as not there, those of unknown load as loaded as the others are. Without any known load
    /// there is no advice.
    pub fn observe(&mut self, now: Duration, loads: &[Load]) -> Option<ScalingAdvice> {
        let shares: Vec<Option<f64>> = loads.iter().filter(|load| load.healthy).map(Load::share).collect();
        let known = shares.iter().flatten().count();
        let current = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        if known == 0 {
            return None;
        }
        let load = shares.iter().flatten().map(|share| share / known as f64).sum::<f64>();
        let demand = load * f64::from(current);
        self.demand.observe(now, demand);
        let expected = self.demand.predict(self.config.ahead).map_or(demand, |prediction| prediction.value);
        let advice = self.advise(current, demand, expected)?;
        let pause = if advice.desired > current { self.config.pause_before_more } else { self.config.pause_before_fewer };
        if self.advised.is_some_and(|advised| now.saturating_sub(advised) < pause) {
            return None;
        }
        self.advised = Some(now);
        Some(advice)
    }

    fn advise(&self, current: u32, demand: f64, expected: f64) -> Option<ScalingAdvice> {
        let ScalingConfig { target, above, below, least, most, ahead, .. } = self.config;
        let share = |demand: f64| demand / f64::from(current);
        // What is needed now and what will be: more for either, fewer only for both.
        let need = demand.max(expected);
        let (beyond, limit) = match share(need) {
            much if much > above => ("above", above),
            little if little < below => ("below", below),
            _ => return None,
        };
        // The last digits of a division are no endpoint.
        let desired = ((need / target - 1e-9).ceil() as u32).clamp(least, most);
        let wrong_way = (beyond == "above") != (desired > current);
        if desired == current || wrong_way {
            return None;
        }
        let reason = format!(
            "load {} %, {} % expected in {} s, {beyond} {} %",
            percent(share(demand)),
            percent(share(expected)),
            ahead.as_secs(),
            percent(limit)
        );
        Some(ScalingAdvice { current, desired, load: share(demand), expected: share(expected), reason: reason.into() })
    }
}

impl ScalingAdvice {
    /// The same for an [`Observer`](crate::Observer).
    pub fn event(&self) -> LbEvent {
        LbEvent::ScalingAdvised { current: self.current, desired: self.desired, reason: Arc::clone(&self.reason) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::observer::Observer;

    fn loads(endpoints: usize, in_flight: u32) -> Vec<Load> {
        let load = |at| Load { in_flight, capacity: Some(100), ..Load::new(&*format!("e{at}:1")) };
        (0..endpoints).map(load).collect()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn configurations_that_make_no_sense_are_refused() {
        let config = ScalingConfig::default();
        for (config, field) in [
            (ScalingConfig { below: 0.0, ..config }, "below"),
            (ScalingConfig { below: f64::NAN, ..config }, "below"),
            (ScalingConfig { target: 0.4, ..config }, "target"),
            (ScalingConfig { above: 0.6, ..config }, "above"),
            (ScalingConfig { above: f64::INFINITY, ..config }, "above"),
            (ScalingConfig { least: 5, most: 4, ..config }, "most"),
        ] {
            assert_eq!(ScalingSignal::new(config).unwrap_err().field, field);
        }
        assert!(ScalingSignal::new(config).is_ok());
    }

    #[test]
    fn advice_is_given_outside_of_the_limits_and_then_paused() {
        let mut signal = ScalingSignal::default();
        assert_eq!(signal.observe(at(0), &loads(4, 70)), None, "between the limits");
        let more = signal.observe(at(1), &loads(4, 90)).unwrap();
        // The trend adds to 3.6 endpoints full of work; 0.6 of each.
        assert!(more.current == 4 && more.desired >= 6 && more.reason.starts_with("load 90 %, "), "{more:?}");
        assert_eq!(signal.observe(at(30), &loads(4, 95)), None, "paused");
        assert!(signal.observe(at(62), &loads(4, 95)).is_some(), "still too few");
    }

    #[test]
    fn fewer_only_after_a_long_pause_and_a_calm_trend() {
        let mut signal = ScalingSignal::default();
        assert_eq!(signal.observe(at(0), &loads(10, 10)).unwrap().desired, 2);
        assert!((1..300).all(|second| signal.observe(at(second), &loads(10, 10)).is_none()));
        assert_eq!(signal.observe(at(300), &loads(10, 10)).unwrap().desired, 2);
        // Little for a moment, but rising: there will be enough to do.
        let mut signal = ScalingSignal::default();
        assert!((0..30).all(|second| signal.observe(at(second), &loads(10, 41 + second as u32 / 2)).is_none()));
        assert_eq!(signal.observe(at(30), &loads(10, 39)), None);
    }

    #[test]
    fn following_advice_never_calls_for_the_opposite() {
        for endpoints in 1..50 {
            for in_flight in (0..200).step_by(7) {
                let Some(advice) = ScalingSignal::default().observe(at(0), &loads(endpoints, in_flight)) else { continue };
                let total = endpoints as f64 * f64::from(in_flight);
                let after = loads(advice.desired as usize, (total / f64::from(advice.desired)).round() as u32);
                let next = ScalingSignal::default().observe(at(0), &after);
                assert_eq!(next, None, "{endpoints} at {in_flight}: {advice:?}");
            }
        }
    }

    #[test]
    fn bounds_health_and_the_unknown() {
        let config = ScalingConfig { least: 3, most: 5, ..ScalingConfig::default() };
        let observe = |loads: &[Load]| ScalingSignal::new(config).unwrap().observe(at(0), loads).map(|advice| advice.desired);
        assert_eq!(
            (observe(&loads(4, 200)), observe(&loads(5, 200)), observe(&loads(4, 0)), observe(&loads(3, 0))),
            (Some(5), None, Some(3), None)
        );
        assert_eq!((observe(&[]), observe(&[Load::new("a:1")])), (None, None));
        let mut some_ill = loads(5, 50);
        some_ill[..3].iter_mut().for_each(|load| load.healthy = false);
        some_ill[3].in_flight = 140;
        some_ill[4].capacity = None;
        assert_eq!(observe(&some_ill), Some(5), "two endpoints at 140 % each, as far as known");
    }

    #[test]
    fn it_reaches_an_observer_and_survives_a_restart() {
        #[derive(Debug)]
        struct Ears(mpsc::Sender<String>);
        impl Observer for Ears {
            fn on_event(&self, event: &LbEvent) {
                self.0.send(event.to_string()).unwrap();
            }
        }
        let (sender, heard) = mpsc::channel();
        let mut signal = ScalingSignal::default();
        Ears(sender).on_event(&signal.observe(at(0), &loads(1, 90)).unwrap().event());
        assert_eq!(heard.recv().unwrap(), "2 endpoints advised, there are 1: load 90 %, 90 % expected in 60 s, above 80 %");
        let text = serde_json::to_string(&signal).unwrap();
        assert_eq!(serde_json::from_str::<ScalingSignal>(&text).unwrap(), signal);
    }
}
