//! Scores for people: every part, and the facts in words.

use std::time::Duration;

use crate::attributes::RegistryHealth;
use crate::pick::Score;

use super::factor::Factor;
use super::measure::{Extremes, Seen, Wish, value};
use super::picker::Scorer;
use super::table::Row;

/// What each tier costs in a shown total. No score reaches from one tier into the next as long as its weights and its penalty add up to
/// less.
const TIER: f64 = -10.0;

/// One score per endpoint, each relative to all of them.
pub(super) fn scores(scorer: &Scorer, wish: &Wish<'_>) -> Vec<Score> {
    let extremes = Extremes::of((0..scorer.rows.len()).map(|index| scorer.seen(index, wish)));
    let mut scores = Vec::with_capacity(scorer.rows.len());
    let (mut after, mut number) = (None, 0);
    while let Some(tier) = scorer.classes.next(wish, after) {
        scores.extend(scorer.classes.rows(wish, tier).map(|index| score(scorer, index, wish, &extremes, number)));
        (after, number) = (Some(tier.rank), number + 1);
    }
    scores
}

fn score(scorer: &Scorer, index: usize, wish: &Wish<'_>, extremes: &Extremes, tier: u32) -> Score {
    let (row, seen, factors) = (&scorer.rows[index], scorer.seen(index, wish), &scorer.settings.factors);
    let of = |factor: Factor| match factor.is_fixed() {
        true => row.fixed_value(factor, &scorer.best),
        false => value(factor, row, &scorer.settings, wish, &seen, extremes),
    };
    let mut parts: Vec<(&'static str, f64)> = factors.iter().map(|(factor, weight)| (factor.name(), weight * of(factor))).collect();
    let mut facts: Vec<String> =
        factors.iter().filter_map(|(factor, _)| fact(factor, of(factor), scorer, row, wish, &seen)).collect();
    if factors.error_penalty() > 0.0 {
        parts.push(("errors", 0.0 - factors.error_penalty() * seen.failing));
        facts.extend((seen.failing >= 0.005).then(|| format!("{:.0} % errors", seen.failing * 100.0)));
    }
    if tier > 0 {
        parts.push(("tier", TIER * f64::from(tier)));
        facts.push(format!("after {tier} better tier{}", if tier == 1 { "" } else { "s" }));
    }
    let mut score = Score::new(row.slot, parts.iter().map(|(_, part)| part).sum(), facts.join(", "));
    score.parts = parts;
    score
}

/// What a factor says of an endpoint, if it is worth a word.
fn fact(factor: Factor, value: f64, scorer: &Scorer, row: &Row, wish: &Wish<'_>, seen: &Seen) -> Option<String> {
    match factor {
        Factor::Capacity if row.capacity > 0.0 => Some(format!("free capacity {value:.2} of {}", row.capacity)),
        Factor::Capacity => Some(match seen.utilization {
            Some(used) => format!("{:.0} % utilised, {} calls in flight", used * 100.0, seen.busy),
            None => format!("{} calls in flight", seen.busy),
        }),
        Factor::Weight => Some(format!("weight {} of {}", row.weight, scorer.best.heaviest)),
        Factor::Health => (row.endpoint.attributes.health == RegistryHealth::Degraded).then(|| "degraded".to_owned()),
        // Said with the capacity if that counts as well.
        Factor::Connections => (!scorer.settings.uses(Factor::Capacity)).then(|| format!("{} calls in flight", seen.busy)),
        Factor::SuccessRate => Some(format!("{:.0} % of recent calls succeed", 100.0 * value)),
        Factor::Latency => Some(speed(seen)),
        Factor::Reliability => Some(format!("{:.1} % of all calls succeeded", 100.0 * value)),
        Factor::Performance => Some(format!("{}, {:.0} % succeed", speed(seen), 100.0 * (1.0 - seen.failing))),
        Factor::Affinity => affinity(value, row, wish, seen),
        Factor::Specialisation => (!wish.require.is_empty())
            .then(|| format!("{} of its {} capabilities required", if value > 0.0 { wish.require.len() } else { 0 }, row.offered)),
        Factor::Cost => Some(row.cost().map_or_else(|| "cost unknown".to_owned(), |cost| format!("costs {cost}"))),
        Factor::Locality => wish.hints.locality.as_ref().map(|_| locality(value, row)),
        Factor::LoadForecast => {
            row.expected.map(|expected| format!("{:.1} ± {:.1} calls expected", expected.in_flight.value, expected.in_flight.error))
        }
    }
}

fn speed(seen: &Seen) -> String {
    match Duration::try_from_secs_f64(seen.seconds) {
        Ok(latency) if seen.seconds > 0.0 => format!("takes {:.1} ms", latency.as_secs_f64() * 1e3),
        _ => "speed unknown".to_owned(),
    }
}

fn affinity(value: f64, row: &Row, wish: &Wish<'_>, seen: &Seen) -> Option<String> {
    if wish.hints.prefer.contains(row.endpoint.key()) {
        return Some("preferred by the call".to_owned());
    }
    let kind = wish.hints.kind.as_deref()?;
    match &seen.experience {
        Some(outcome) => Some(format!(
            "affinity {value:.2} to {kind}: {:.0} before, {:.0} % succeeded, {:.1} ms",
            outcome.calls,
            outcome.success_rate * 100.0,
            outcome.latency.as_secs_f64() * 1e3
        )),
        None => Some(format!("affinity {value:.2} to {kind}")),
    }
}

fn locality(value: f64, row: &Row) -> String {
    let there = &row.endpoint.attributes.locality;
    let place = [&there.region, &there.zone, &there.sub_zone].map(|part| &**part);
    let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
    let place = if place.is_empty() { "an unknown place".to_owned() } else { place.join("/") };
    if value > 0.0 { format!("prefers {place}") } else { format!("far, in {place}") }
}
