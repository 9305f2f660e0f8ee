//! Each line of gRFC A50's list of tests has one here, at the policy (`policies::outlier_detection`), over the machine
//! (`lb-testkit/tests/machine/outliers.rs`) or over sockets; docs/SPEC_TESTS.md says which shows what.

mod changes;
mod measures;
mod rows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{Ready, TransientFailure};
use crate::feedback::Done;
use crate::policies::testing::{ready, slot, start};
use crate::stats::Outcome;

/// A stage over endpoints whose calls the test makes up.
struct World {
    stage: OutlierStage,
    view: Vec<SubchannelView>,
    now: Instant,
}

impl World {
    fn new(config: serde_json::Value, endpoints: usize) -> Self {
        let mut world =
            Self { stage: OutlierStage::new(OutlierConfig::from_json(&config).unwrap()), view: ready(endpoints), now: start() };
        assert_eq!(world.ejected(), [0; 0], "nothing is judged at once");
        world
    }

    /// Calls at endpoint `index`, of which `failed` fail; each takes 20 ms.
    fn calls(&self, index: usize, count: usize, failed: usize) {
        self.calls_of(index, count, failed, Duration::from_millis(20));
    }

    fn calls_of(&self, index: usize, count: usize, failed: usize, took: Duration) {
        let row = &self.view[index];
        for call in 0..count {
            let outcome = if call < failed { Outcome::Failure } else { Outcome::Success };
            row.stats.begin();
            row.stats.finish(&Done::new(row.slot, self.now, took, outcome));
        }
    }

    /// Lets an interval of 10 s end, and says who is ejected.
    fn interval(&mut self) -> Vec<usize> {
        self.now += Duration::from_secs(10);
        self.ejected()
    }

    fn ejected(&mut self) -> Vec<usize> {
        let (mut view, mut plan) = (self.view.clone(), Plan::new(7));
        self.stage.apply(self.now, &mut view, &mut plan);
        assert_eq!(view.len(), self.view.len(), "nobody is hidden");
        let ejected: Vec<_> = view.iter().filter(|row| row.state == TransientFailure).collect();
        assert!(ejected.iter().all(|row| row.error.is_some() && plan.connect.contains(&row.slot)), "it stays connected");
        ejected.iter().map(|row| row.slot.index()).collect()
    }
}

fn by_rate(more: serde_json::Value) -> serde_json::Value {
    json!({"maxEjectionPercent": 100, "successRateEjection": more})
}

fn by_failures(more: serde_json::Value) -> serde_json::Value {
    json!({"maxEjectionPercent": 100, "failurePercentageEjection": more})
}

/// So many failures in a row, with this code.
fn fail(world: &World, index: usize, count: usize, code: i32) {
    let row = &world.view[index];
    for _ in 0..count {
        row.stats.begin();
        row.stats.finish(&Done::new(row.slot, world.now, Duration::from_millis(1), Outcome::Failure).with_code(code));
    }
}

fn in_a_row(more: serde_json::Value) -> serde_json::Value {
    json!({"maxEjectionPercent": 100, "consecutiveFailures": more})
}
