//! The judgement at the end of an interval.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Counts, Ejection, EjectionMeasure, OutlierStage};
use crate::endpoint::EndpointKey;
use crate::entropy::Entropy;
use crate::event::LbEvent;
use crate::policy::SubchannelView;

/// What is known of one endpoint when it is judged.
pub(super) struct Case {
    key: EndpointKey,
    pub(super) calls: Counts,
    latency: Option<Duration>,
}

impl Case {
    fn volume(&self) -> u64 {
        self.calls.succeeded + self.calls.failed
    }

    /// 0 to 1; 1 without calls.
    fn success(&self) -> f64 {
        1.0 - self.calls.failed as f64 / self.volume().max(1) as f64
    }
}

impl OutlierStage {
    /// Judges the interval that ends `now`, and begins the next.
    pub(super) fn sweep(&mut self, now: Instant, view: &[SubchannelView], entropy: &mut Entropy) {
        let cases: Vec<Case> = view.iter().map(|row| self.take(row)).collect();
        self.judge_success_rate(now, &cases, entropy);
        self.judge_failures(now, &cases, entropy);
        self.judge_latency(now, &cases, entropy);
        for (key, record) in &mut self.records {
            match &record.ejected {
                None => record.multiplier = record.multiplier.saturating_sub(1),
                Some(ejection) if ejection.until.is_some_and(|end| now > end) => {
                    record.ejected = None;
                    self.news.push(LbEvent::EjectionEnded { endpoint: key.clone() });
                }
                Some(_) => {}
            }
        }
    }

    /// The calls of the interval; counting begins anew.
    pub(super) fn take(&mut self, row: &SubchannelView) -> Case {
        let (key, counts) = (row.endpoint.key().clone(), Counts::of(row));
        let record = self.records.entry(key.clone()).or_default();
        let calls = counts.since(std::mem::replace(&mut record.before, counts));
        Case { key, calls, latency: row.stats.latency() }
    }

    fn judge_success_rate(&mut self, now: Instant, cases: &[Case], entropy: &mut Entropy) {
        let Some(measure) = self.config.success_rate.clone() else { return };
        let judged = busy(cases, measure.request_volume);
        if judged.len() < measure.minimum_hosts.max(1) as usize {
            return;
        }
        let count = judged.len() as f64;
        let mean = judged.iter().map(|case| case.success()).sum::<f64>() / count;
        let variance = judged.iter().map(|case| (case.success() - mean).powi(2)).sum::<f64>() / count;
        let threshold = mean - variance.sqrt() * f64::from(measure.stdev_factor) / 1000.0;
        for case in judged {
            let reason = || format!("{:.0} % of its calls succeed, of all {:.0} %", case.success() * 100.0, mean * 100.0);
            if case.success() < threshold {
                let found = (EjectionMeasure::SuccessRate, measure.enforcement_percentage);
                self.eject(now, &case.key, found, entropy, reason);
            }
        }
    }

    fn judge_failures(&mut self, now: Instant, cases: &[Case], entropy: &mut Entropy) {
        let Some(measure) = self.config.failure_percentage.clone() else { return };
        let judged = busy(cases, measure.request_volume);
        if judged.len() < measure.minimum_hosts.max(1) as usize {
            return;
        }
        for case in judged {
            let failed = (1.0 - case.success()) * 100.0;
            let reason = || format!("{failed:.0} % of its calls fail, more than {} %", measure.threshold);
            if failed > f64::from(measure.threshold) {
                let found = (EjectionMeasure::FailurePercentage, measure.enforcement_percentage);
                self.eject(now, &case.key, found, entropy, reason);
            }
        }
    }

    fn judge_latency(&mut self, now: Instant, cases: &[Case], entropy: &mut Entropy) {
        let Some(measure) = self.config.latency.clone() else { return };
        let judged = busy(cases, measure.request_volume);
        let mut latencies: Vec<Duration> = judged.iter().filter_map(|case| case.latency).collect();
        if latencies.len() < measure.minimum_hosts.max(1) as usize {
            return;
        }
        latencies.sort_unstable();
        // The lower of two middle ones: of two endpoints the slow one is an outlier, not the measure.
        let median = latencies[(latencies.len() - 1) / 2];
        for case in judged {
            let Some(latency) = case.latency else { continue };
            let reason = || format!("its calls take {latency:.1?}, those of all {median:.1?}");
            let slow = latency > median.mul_f64(f64::from(measure.factor) / 1000.0) && latency > measure.at_least;
            if slow {
                self.eject(now, &case.key, (EjectionMeasure::Latency, measure.enforcement_percentage), entropy, reason);
            }
        }
    }

    /// Ejects an endpoint that was found by this measure, if no more than may be are ejected and chance allows, and counts what came of it.
    pub(super) fn eject(
        &mut self,
        now: Instant,
        key: &EndpointKey,
        (measure, enforcement): (EjectionMeasure, u32),
        entropy: &mut Entropy,
        reason: impl FnOnce() -> String,
    ) {
        let (ejected, all) = (self.records.values().filter(|record| record.ejected.is_some()).count(), self.records.len());
        let counts = self.counts.by_mut(measure);
        let Some(record) = self.records.get_mut(key).filter(|record| record.ejected.is_none()) else { return };
        if ejected * 100 >= all * self.config.max_ejection_percent as usize {
            counts.spared_by_overflow += 1;
            return;
        }
        if entropy.fraction() * 100.0 >= f64::from(enforcement) {
            counts.spared_by_chance += 1;
            return;
        }
        counts.enforced += 1;
        record.multiplier = record.multiplier.saturating_add(1);
        let time = self.config.time(record.multiplier);
        let reason: Arc<str> = format!("ejected: {}", reason()).into();
        self.news.push(LbEvent::Ejected { endpoint: key.clone(), measure, reason: Arc::clone(&reason) });
        record.ejected = Some(Arc::new(Ejection { at: now, until: now.checked_add(time), measure, reason }));
    }
}

/// Those with enough calls to be judged, and to be judged by.
fn busy(cases: &[Case], volume: u32) -> Vec<&Case> {
    cases.iter().filter(|case| case.volume() >= u64::from(volume)).collect()
}
