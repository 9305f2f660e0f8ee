//! One endpoint as a stream tells of it: few fields, rounded, so that what did not change to the eye is not told again.

use std::sync::Arc;

use lb_core::ConnectivityState;
use lb_core::breaker::BreakerState;
use lb_tonic::EndpointInfo;
use serde::{Serialize, Serializer};

/// What the fields of a [`Row`] are called. Times are seconds; shares and loads are from 0.
const NAMES: [&str; 20] = [
    "key",
    "id",
    "locality",
    "priority",
    "weight",
    "state",
    "health",
    "error",
    "excluded",
    "limited",
    "share",
    "inFlight",
    "picks",
    "failed",
    "errorRate",
    "latency",
    "p50",
    "p90",
    "p99",
    "load",
];

/// And the last one, for the name of the open breaker's state.
const BREAKER: &str = "breaker";

/// Letters of a text from elsewhere that are told at most.
const LONGEST: usize = 400;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Field {
    Nothing,
    Count(u64),
    Number(f64),
    State(ConnectivityState),
    Word(&'static str),
    Text(Arc<str>),
}

/// An endpoint at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    fields: [Field; NAMES.len()],
    breaker: Field,
}

impl Row {
    pub(super) fn new(info: &EndpointInfo) -> Self {
        let quantiles = info.latency_quantiles.as_ref();
        let quantile = |of: fn(&lb_core::Quantiles) -> std::time::Duration| number(quantiles.map(|all| of(all).as_secs_f64()), 2);
        let picks = u64::from(info.in_flight) + info.succeeded + info.failed + info.cancelled;
        let fields = [
            Field::Text(info.key.as_str().into()),
            info.attributes.id.as_deref().map_or(Field::Nothing, |id| Field::Text(cut(id))),
            locality(info),
            Field::Count(info.attributes.priority.into()),
            Field::Count(info.weight.into()),
            Field::State(info.state),
            Field::Word(info.health.as_str()),
            info.error.as_deref().map_or(Field::Nothing, |error| Field::Text(cut(error))),
            info.excluded.map_or(Field::Nothing, Field::Word),
            info.limited.map_or(Field::Nothing, Field::Word),
            number((info.share < 1.0).then_some(info.share), 2),
            Field::Count(info.in_flight.into()),
            Field::Count(picks),
            Field::Count(info.failed),
            number(info.error_rate, 2),
            number(info.latency.map(|latency| latency.as_secs_f64()), 3),
            quantile(|all| all.p50),
            quantile(|all| all.p90),
            quantile(|all| all.p99),
            number(info.load, 2),
        ];
        Self { fields, breaker: breaker(info) }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &Field)> {
        NAMES.into_iter().zip(&self.fields).chain([(BREAKER, &self.breaker)])
    }
}

/// A row as it is told: all of it that is something, or its key and what changed, where `null` stands for what is no longer there.
pub(super) struct Told<'a> {
    pub(super) row: &'a Row,
    pub(super) before: Option<&'a Row>,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let before = self.before.map(|row| row.named().map(|(_, field)| field)).into_iter().flatten();
        let mut before = before.chain(std::iter::repeat(&Field::Nothing));
        serializer.collect_map(self.row.named().filter(|(name, field)| before.next() != Some(*field) || *name == "key"))
    }
}

/// Region, zone and what is below it, as far as they are known.
fn locality(info: &EndpointInfo) -> Field {
    let place = &info.attributes.locality;
    let parts = [&place.region, &place.zone, &place.sub_zone].into_iter().filter(|part| !part.is_empty());
    let text = parts.map(|part| &**part).collect::<Vec<_>>().join("/");
    if text.is_empty() { Field::Nothing } else { Field::Text(cut(&text)) }
}

/// The worst of its breakers, if any is not closed.
fn breaker(info: &EndpointInfo) -> Field {
    let state = |wanted| info.breakers.iter().any(|breaker| breaker.state == wanted);
    match () {
        () if state(BreakerState::Open) => Field::Word("open"),
        () if state(BreakerState::HalfOpen) => Field::Word("half open"),
        () => Field::Nothing,
    }
}

/// So many digits that count. What is no number is not told.
fn number(value: Option<f64>, digits: i32) -> Field {
    let Some(value) = value.filter(|value| value.is_finite()) else { return Field::Nothing };
    if value == 0.0 {
        return Field::Number(0.0);
    }
    let unit = 10_f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    let rounded = (value * unit).round() / unit;
    Field::Number(if rounded.is_finite() { rounded } else { value })
}

pub(super) fn cut(text: &str) -> Arc<str> {
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_digits_that_count() {
        let rounded = |value, digits| serde_json::to_string(&number(Some(value), digits)).unwrap();
        assert_eq!(rounded(0.001_234_56, 3), "0.00123");
        assert_eq!(rounded(0.999_6, 3), "1.0");
        assert_eq!(rounded(0.0, 2), "0.0");
        assert_eq!(rounded(1_234.5, 2), "1200.0");
        assert_eq!(number(Some(5e-324), 3), Field::Number(5e-324), "too small to be rounded");
        assert_eq!(number(Some(f64::NAN), 2), Field::Nothing);
        assert_eq!(number(Some(f64::INFINITY), 2), Field::Nothing);
    }

    #[test]
    fn long_text_is_cut_between_letters() {
        assert_eq!(&*cut("short"), "short");
        let long = cut(&"ü".repeat(10_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST + 1, true));
    }
}
