mod config;
mod factors;
mod fast_failing;
mod picks;
mod tiers;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::attributes::Attributes;
use crate::feedback::Done;
use crate::pick::Picker;
use crate::policies::testing::{Caller, ready, rebuild};
use crate::policies::{Preset, Scored};
use crate::policy::SubchannelView;
use crate::stats::Outcome;

const MS: Duration = Duration::from_millis(1);

/// A policy of these factors that compares all.
fn best_of_all(factors: Value) -> Scored {
    Scored::from_config(&json!({"factors": factors, "choiceCount": 0, "errorPenalty": 0})).unwrap()
}

/// READY endpoints with these attributes.
fn with_attributes(edits: &[fn(&mut Attributes)]) -> Vec<SubchannelView> {
    let mut view = ready(edits.len());
    for (row, edit) in view.iter_mut().zip(edits) {
        edit(&mut Arc::make_mut(&mut row.endpoint).attributes);
        row.weight = row.endpoint.attributes.weight;
    }
    view
}

fn begin(view: &[SubchannelView], calls: &[u32]) {
    view.iter().zip(calls).for_each(|(row, calls)| (0..*calls).for_each(|_| row.stats.begin()));
}

/// Calls that ended at the caller's time.
fn finish(caller: &Caller, row: &SubchannelView, latency: Duration, outcome: Outcome, calls: u32) {
    for _ in 0..calls {
        row.stats.begin();
        row.stats.finish(&Done::new(row.slot, caller.now, latency, outcome));
    }
}

/// Totals by endpoint.
fn totals(caller: &mut Caller, picker: &dyn Picker, endpoints: usize) -> Vec<f64> {
    let mut totals = vec![f64::NAN; endpoints];
    caller.explain(picker).iter().for_each(|score| totals[score.slot.index()] = score.total);
    totals
}

fn picker_of(mut policy: Scored, view: &[SubchannelView]) -> Arc<dyn Picker> {
    rebuild(&mut policy, view).picker
}

fn preset(preset: Preset, view: &[SubchannelView]) -> Arc<dyn Picker> {
    picker_of(Scored::preset(preset), view)
}
