//! What a picker finds out for one call: the values of the factors that change.

use std::time::{Duration, Instant};

use crate::affinity::{Experience, KindOutcome};
use crate::attributes::Locality;
use crate::hints::PickHints;
use crate::stats::ticks;

use super::factor::Factor;
use super::table::{Row, Settings};
use super::tier::{Mask, Words};

/// How long a report counts. Longer than the usual ten-second period of out-of-band reports; an older one says little of now.
const REPORT_COUNTS: Duration = Duration::from_secs(15);

/// How many calls are taken to have ended well before the first one, so that one early failure is not a reliability of 0.
const BENEFIT: f64 = 10.0;

/// Success and speed within performance, in the ratio the policy `performance` has them.
const SUCCESS_SHARE: f64 = 0.35 / (0.35 + 0.25);

/// What a call wishes, looked up once per pick.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) hints: &'a PickHints,
    pub(super) now: Instant,
    ticks: i64,
    /// What it takes of a capacity.
    pub(super) cost: f64,
    pub(super) require: Mask,
    /// The capabilities that suit its kind of work.
    pub(super) suits_kind: Mask,
    /// The rule for its kind of work.
    pub(super) rule: Option<usize>,
    /// Of its kind of work; 0 for none.
    pub(super) token: u64,
}

/// One endpoint now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Calls in flight, from everybody if the server says so.
    pub(super) busy: f64,
    /// As the server said lately.
    pub(super) utilization: Option<f64>,
    /// Share of recent calls that failed.
    pub(super) failing: f64,
    /// Seconds per call that ends well; 0 is unknown.
    pub(super) seconds: f64,
    pub(super) experience: Option<KindOutcome>,
}

/// What measured factors are relative to: the best or worst of those compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extremes {
    pub(super) busiest: f64,
    pub(super) fastest: f64,
    /// The fastest for the call's kind of work, in seconds.
    fastest_of_kind: f64,
}

impl<'a> Wish<'a> {
    #[inline]
    pub(super) fn new(settings: &Settings, words: &Words, hints: &'a PickHints, now: Instant) -> Self {
        let kind = hints.kind.as_deref();
        let rule = kind.and_then(|kind| settings.rules.position(kind));
        let suits_kind = match (rule, kind) {
            (Some(at), _) => words.mask(settings.rules.at(at).into_iter().flat_map(|rule| &rule.capabilities).map(|word| &**word)),
            (None, Some(kind)) => words.mask([kind]),
            (None, None) => Mask::default(),
        };
        let learns = settings.experience.is_some();
        Self {
            hints,
            now,
            ticks: ticks(now),
            cost: f64::from(hints.cost.max(1)),
            require: words.mask(hints.require.iter().map(|word| &**word)),
            suits_kind,
            rule,
            token: kind.filter(|_| learns).map_or(0, Experience::token),
        }
    }
}

impl Seen {
    #[inline]
    pub(super) fn new(row: &Row, settings: &Settings, wish: &Wish<'_>) -> Self {
        let stats = &*row.stats;
        // Nothing failed and nothing asks for speed in most picks: then no estimate needs to be aged, which costs divisions.
        let fails = stats.failing_at_last() > 0.0;
        let failing = if fails { f64::from(stats.failing(wish.ticks)).clamp(0.0, 1.0) } else { 0.0 };
        let own = f64::from(stats.in_flight());
        let (reported, utilization) = (stats.reported_in_flight(), stats.utilization());
        let counts =
            (reported.is_some() || utilization.is_some()) && stats.report_age(wish.now).is_some_and(|age| age <= REPORT_COUNTS);
        let latency = if settings.needs_speed { stats.latency_seconds(wish.ticks).map_or(0.0, f64::from) } else { 0.0 };
        let experience = settings.experience.as_ref().filter(|_| wish.token != 0);
        Self {
            busy: reported.filter(|_| counts).map_or(own, |all| own.max(f64::from(all))),
            utilization: utilization.filter(|_| counts),
            failing,
            // Never divided by less than one success in a hundred, so that it stays a time one can compare.
            seconds: latency / (1.0 - failing).max(0.01),
            experience: experience.and_then(|experience| experience.remembered(row.slot, wish.token, wish.now)),
        }
    }
}

impl Extremes {
    #[inline]
    pub(super) fn of(seen: impl Iterator<Item = Seen>) -> Self {
        let nobody = Self { busiest: 0.0, fastest: f64::INFINITY, fastest_of_kind: f64::INFINITY };
        seen.fold(nobody, |extremes, seen| Self {
            busiest: extremes.busiest.max(seen.busy),
            fastest: if seen.seconds > 0.0 { extremes.fastest.min(seen.seconds) } else { extremes.fastest },
            fastest_of_kind: match seen.experience.map(|outcome| outcome.latency.as_secs_f64()) {
                Some(seconds) if seconds > 0.0 => extremes.fastest_of_kind.min(seconds),
                _ => extremes.fastest_of_kind,
            },
        })
    }

    /// 1 for the fastest and for those not known.
    #[inline]
    fn speed(&self, seen: &Seen) -> f64 {
        if seen.seconds > self.fastest { self.fastest / seen.seconds } else { 1.0 }
    }
}

/// The value of a measured factor, 0 to 1.
#[inline]
pub(super) fn value(factor: Factor, row: &Row, settings: &Settings, wish: &Wish<'_>, seen: &Seen, extremes: &Extremes) -> f64 {
    match factor {
        Factor::Capacity => free(row, wish, seen.busy, seen.utilization, extremes),
        Factor::Connections if extremes.busiest > 0.0 => 1.0 - seen.busy / extremes.busiest,
        Factor::SuccessRate => 1.0 - seen.failing,
        Factor::Latency => extremes.speed(seen),
        Factor::Reliability => reliability(row),
        Factor::Performance => SUCCESS_SHARE * (1.0 - seen.failing) + (1.0 - SUCCESS_SHARE) * extremes.speed(seen),
        Factor::Affinity => affinity(row, settings, wish, seen, extremes),
        Factor::Specialisation => specialisation(row, wish),
        Factor::Locality => wish.hints.locality.as_ref().map_or(1.0, |wished| nearness(wished, &row.endpoint.attributes.locality)),
        Factor::LoadForecast => forecast(row, wish, extremes),
        // The fixed ones are in the row.
        Factor::Connections | Factor::Weight | Factor::Health | Factor::Cost => 1.0,
    }
}

/// The share of an endpoint the call would leave free.
#[inline]
pub(super) fn free(row: &Row, wish: &Wish<'_>, busy: f64, utilization: Option<f64>, extremes: &Extremes) -> f64 {
    if row.capacity > 0.0 {
        return (1.0 - (busy + wish.cost) / row.capacity).max(0.0);
    }
    let relative = 1.0 - (busy + wish.cost) / (extremes.busiest.max(busy) + wish.cost);
    // Half from what this client sees at once: on reports alone, all clients would follow the same one.
    utilization.map_or(relative, |used| ((1.0 - used).max(0.0) + relative) / 2.0)
}

/// Whether an endpoint with a capacity has some left for the call.
#[inline]
pub(super) fn has_room(row: &Row, wish: &Wish<'_>, seen: &Seen) -> bool {
    row.capacity == 0.0 || seen.busy + wish.cost <= row.capacity
}

fn forecast(row: &Row, wish: &Wish<'_>, extremes: &Extremes) -> f64 {
    let Some(expected) = &row.expected else { return 1.0 };
    free(row, wish, expected.in_flight.value, expected.utilization.map(|used| used.value), extremes)
}

fn reliability(row: &Row) -> f64 {
    let (succeeded, failed) = (row.stats.succeeded() as f64, row.stats.failed() as f64);
    (succeeded + BENEFIT) / (succeeded + failed + BENEFIT)
}

#[inline]
fn affinity(row: &Row, settings: &Settings, wish: &Wish<'_>, seen: &Seen, extremes: &Extremes) -> f64 {
    if !wish.hints.prefer.is_empty() && wish.hints.prefer.contains(row.endpoint.key()) {
        return 1.0;
    }
    let by_rule = wish.rule.and_then(|at| settings.rules.at(at)).map(|rule| rule.fit(&row.endpoint));
    let by_experience = match (wish.token, &seen.experience) {
        (0, _) => None,
        (_, Some(outcome)) => Some(outcome.suits(extremes.fastest_of_kind)),
        (_, None) => Some(1.0),
    };
    match (by_rule, by_experience) {
        // A rule is somebody's knowledge; experience corrects it by a third.
        (Some(rule), Some(experience)) => (2.0 * rule + experience) / 3.0,
        (Some(one), None) | (None, Some(one)) => one,
        // Nothing is wished, or only other endpoints are preferred.
        (None, None) => 0.0,
    }
}

#[inline]
fn specialisation(row: &Row, wish: &Wish<'_>) -> f64 {
    match wish.require.is_empty() {
        true => 1.0,
        false if row.offers.covers(wish.require) => f64::from(wish.require.len()) / f64::from(row.offered.max(1)),
        false => 0.0,
    }
}

/// How near an endpoint is to where the call wants to go.
fn nearness(wished: &Locality, there: &Locality) -> f64 {
    let is = |wished: &str, there: &str| wished.is_empty() || wished == there;
    match () {
        () if !is(&wished.region, &there.region) => 0.0,
        () if !is(&wished.zone, &there.zone) => 0.5,
        () if !is(&wished.sub_zone, &there.sub_zone) => 0.8,
        () => 1.0,
    }
}
