//! The judgement of failures in a row, when the last of them has ended.

use std::time::Instant;

use super::{ConsecutiveEjection, EjectionMeasure, OutlierStage};
use crate::endpoint::EndpointKey;
use crate::entropy::Entropy;
use crate::gate::GateSignal;
use crate::policy::SubchannelView;

/// How many failures, and gateway failures, came in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rows {
    failures: u32,
    gateway: u32,
}

impl Rows {
    pub(super) fn of(row: &SubchannelView) -> Self {
        Self { failures: row.stats.failures_in_a_row(), gateway: row.stats.gateway_failures_in_a_row() }
    }

    /// What came on top of what was judged before.
    fn since(self, before: Self) -> Self {
        Self { failures: self.failures.saturating_sub(before.failures), gateway: self.gateway.saturating_sub(before.gateway) }
    }

    /// What was judged before, as far as it is still of the same rows: one that is shorter than it was is another one.
    fn still(self, now: Self) -> Self {
        let still = |before: u32, now: u32| if now < before { 0 } else { before };
        Self { failures: still(self.failures, now.failures), gateway: still(self.gateway, now.gateway) }
    }
}

impl OutlierStage {
    /// Ejects who failed too often in a row since it was judged last.
    pub(super) fn judge_rows(&mut self, now: Instant, view: &[SubchannelView], entropy: &mut Entropy, signal: &GateSignal) {
        if !self.config.counts_rows() {
            return;
        }
        if std::mem::take(&mut self.rows_begin) {
            view.iter().for_each(|row| self.judged(row.endpoint.key(), Rows::of(row)));
        }
        let (failures, gateway) = (self.config.consecutive_failures.clone(), self.config.consecutive_gateway_failures.clone());
        let thresholds = [&failures, &gateway].map(|measure| measure.as_ref().map_or(0, |measure| measure.threshold));
        for row in view {
            row.stats.watch_rows(thresholds[0], thresholds[1], signal);
            let (key, rows) = (row.endpoint.key(), Rows::of(row));
            let Some(record) = self.records.get_mut(key) else { continue };
            if record.ejected.is_some() {
                // What still ends while it is ejected is paid for.
                record.rows_before = rows;
                continue;
            }
            record.rows_before = record.rows_before.still(rows);
            let new = rows.since(record.rows_before);
            let reached = |measure: &Option<ConsecutiveEjection>, count: u32| {
                measure.as_ref().filter(|measure| count >= measure.threshold).map(|measure| measure.enforcement_percentage)
            };
            use EjectionMeasure::{ConsecutiveFailures, ConsecutiveGatewayFailures};
            let found = [
                (ConsecutiveFailures, reached(&failures, new.failures), new.failures, "failed"),
                (ConsecutiveGatewayFailures, reached(&gateway, new.gateway), new.gateway, "did not reach it in time"),
            ];
            for (measure, enforcement, calls, what) in found {
                let Some(enforcement) = enforcement else { continue };
                self.judged(key, rows);
                self.eject(now, key, (measure, enforcement), entropy, || format!("{calls} calls in a row {what}"));
            }
        }
    }

    /// The rows so far are not judged again.
    fn judged(&mut self, key: &EndpointKey, rows: Rows) {
        if let Some(record) = self.records.get_mut(key) {
            record.rows_before = rows;
        }
    }
}
