//! What a number that is observed now and then will be soon: Holt's linear trend.
//!
//! A level and a slope, each a mean of what was observed weighted towards the present; the forecast is the line through them. Steps need
//! not be even: the slope is per second, and older knowledge fades by the time that passed.
//!
//! **Bound.** Three numbers of state; O(1) per observation. On a straight line the error goes to zero, on noise of deviation σ around a
//! constant the forecast for soon deviates by less than σ.
//!
//! **When not.** Seasons (a day has one) and steps: the line overshoots a step by half of it for about a
//! [`Forecast::LEVEL_MEMORY`].
//!
//! Source: Holt 1957, "Forecasting seasonals and trends by exponentially weighted moving averages" (ONR Memorandum 52).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;

/// Larger numbers count as this one, so that their squares stay numbers.
const MOST: f64 = 1e15;

/// A trend that is observed, starting with nothing known.
///
/// ```
/// use std::time::Duration;
/// use lb_core::advice::Forecast;
///
/// let mut forecast = Forecast::default();
/// for second in 0..300 {
///     forecast.observe(Duration::from_secs(second), 100.0 + 2.0 * second as f64);
/// }
/// let soon = forecast.predict(Duration::from_secs(10)).expect("something was observed");
/// assert!((soon.value - 718.0).abs() < 1.0 && soon.error < 1.0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    state: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    #[serde(with = "seconds")]
    at: Duration,
    level: f64,
    /// Per second.
    slope: f64,
    /// Mean square of the errors of one step.
    squared_error: f64,
}

/// What to expect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// The number expected; never below 0, because loads are not.
    pub value: f64,
    /// By how much forecasts from one observation to the next were wrong lately (root of the mean square).
    pub error: f64,
}

impl Forecast {
    /// For how long an observation counts for the level.
    pub const LEVEL_MEMORY: Duration = Duration::from_secs(5);

    /// For how long it counts for the slope, and an error for the error.
    pub const SLOPE_MEMORY: Duration = Duration::from_secs(20);

    /// Observes the number at a time. One that is no number, or not later than the last, is ignored.
    pub fn observe(&mut self, now: Duration, value: f64) {
        if value.is_nan() {
            return;
        }
        let value = value.clamp(-MOST, MOST);
        let Some(state) = &mut self.state else {
            self.state = Some(State { at: now, level: value, slope: 0.0, squared_error: 0.0 });
            return;
        };
        let passed = now.saturating_sub(state.at).as_secs_f64();
        if passed > 0.0 {
            *state = state.next(now, passed, value);
        }
    }

    /// What to expect this long after the last observation; `None` before the first.
    pub fn predict(&self, ahead: Duration) -> Option<Prediction> {
        let state = self.state.as_ref()?;
        let value = state.level + state.slope * ahead.as_secs_f64();
        Some(Prediction { value: value.max(0.0), error: state.squared_error.sqrt() })
    }
}

impl State {
    fn next(&self, at: Duration, passed: f64, value: f64) -> Self {
        // The share by which the new replaces the old after this long.
        let weight = |memory: Duration| -(-passed / memory.as_secs_f64()).exp_m1();
        let (of_level, of_slope) = (weight(Forecast::LEVEL_MEMORY), weight(Forecast::SLOPE_MEMORY));
        let expected = self.level + self.slope * passed;
        let error = value - expected;
        let level = expected + of_level * error;
        let slope = self.slope + of_slope * ((level - self.level) / passed - self.slope);
        Self { at, level, slope, squared_error: self.squared_error + of_slope * (error * error - self.squared_error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(values: impl Iterator<Item = f64>) -> Forecast {
        let mut forecast = Forecast::default();
        values.zip(0..).for_each(|(value, second)| forecast.observe(second * SECOND, value));
        forecast
    }

    #[test]
    fn a_straight_line_is_followed_exactly() {
        let forecast = after((0..400).map(|second| 10.0 + 3.0 * f64::from(second)));
        let prediction = forecast.predict(10 * SECOND).unwrap();
        assert!((prediction.value - (10.0 + 3.0 * 409.0)).abs() < 0.1 && prediction.error < 0.1, "{prediction:?}");
    }

    #[test]
    fn two_steps_worked_out_by_hand() {
        let forecast = after([10.0, 20.0].into_iter());
        // Level 10 + (1 - e^-0.2) · 10 = 11.8127, slope (1 - e^-0.05) · 1.8127 = 0.08841.
        let now = forecast.predict(Duration::ZERO).unwrap();
        assert!((now.value - 11.812_69).abs() < 1e-4);
        assert!((forecast.predict(SECOND).unwrap().value - now.value - 0.088_408).abs() < 1e-4);
        // (1 - e^-0.05) · 10² under the root.
        assert!((now.error - 2.208_40).abs() < 1e-4, "{now:?}");
    }

    #[test]
    fn noise_is_averaged_and_shows_as_error() {
        let mut entropy = Entropy::from_seed(7);
        // Uniform on 100 ± 10: deviation 5.77.
        let forecast = after((0..1_000).map(|_| 90.0 + 20.0 * entropy.fraction()));
        let prediction = forecast.predict(SECOND).unwrap();
        assert!((prediction.value - 100.0).abs() < 5.77 && (3.0..10.0).contains(&prediction.error), "{prediction:?}");
    }

    #[test]
    fn odd_observations_neither_count_nor_harm() {
        let mut forecast = after([5.0; 10].into_iter());
        let before = forecast.clone();
        forecast.observe(3 * SECOND, 100.0);
        forecast.observe(20 * SECOND, f64::NAN);
        assert_eq!(forecast, before);
        forecast.observe(20 * SECOND, f64::INFINITY);
        forecast.observe(21 * SECOND, f64::NEG_INFINITY);
        assert!(forecast.predict(SECOND).is_some_and(|soon| soon.value.is_finite() && soon.error.is_finite()));
        let falling = after((0..20).map(|second| 20.0 - f64::from(second)));
        assert_eq!(falling.predict(60 * SECOND).unwrap().value, 0.0);
        assert_eq!(Forecast::default().predict(SECOND), None);
    }

    #[test]
    fn its_state_is_data() {
        let forecast = after([1.0, 5.0, 2.0].into_iter());
        let text = serde_json::to_string(&forecast).unwrap();
        assert_eq!(serde_json::from_str::<Forecast>(&text).unwrap(), forecast);
    }
}
