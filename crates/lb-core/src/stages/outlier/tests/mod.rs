//! Each line of gRFC A50's list of tests, and the test that shows it.
//!
//! | what | test |
//! |---|---|
//! | the table of the configuration | [`measures`]: `config_table`; `policies::outlier_detection`: `the_child_is_required_and_checked` |
//! | three endpoints, one failing | `one_that_succeeds_less_than_the_others_is_ejected` |
//! | enforcement 0; not enough calls; not enough endpoints | `nobody_is_judged_without_enough_calls_or_peers_and_nobody_ejected_without_enforcement` |
//! | at most 0 % | `the_share_that_may_be_ejected_holds_with_one_to_begin_with` |
//! | back after its time; twice as long the second time | `an_ejection_ends_and_the_next_is_longer_until_a_clean_time` |
//! | the interval changes within one | [`changes`]: `an_interval_that_is_changed_counts_from_where_it_began`; over the machine: `lb-testkit/tests/machine/outliers.rs` |
//! | from a measure to none | `without_a_measure_everybody_is_back_at_once_and_nothing_is_counted` |
//! | from none to a measure | `counting_begins_with_the_first_measure` |
//! | an endpoint of two addresses | over the machine: `calls_at_either_address_of_an_endpoint_count_together` |
//! | a connection that ends leaves the record | [`rows`]: `losing_its_connection_does_not_end_an_ejection` |
//! | another child | `policies::outlier_detection`: `another_child_sees_who_is_ejected`; over the machine: `a_policy_that_is_changed_goes_on_ejecting` |
//! | what the child's pick says, and its learning | `policies::outlier_detection`: `the_childs_picks_are_its_own` |
//! | both measures in one sweep | `both_measures_in_one_sweep_eject_once` |
//! | picks during a sweep | [`changes`]: `no_call_that_ends_during_a_sweep_is_lost_or_counted_twice`; `tests/e2e/outliers.rs` |
//! | gone and back again | `endpoints_that_left_are_forgotten_and_come_back_clean` |
//! | one picker for one change | over the machine: `a_change_is_published_once` |

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
