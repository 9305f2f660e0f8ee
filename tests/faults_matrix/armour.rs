//! What a channel is given to protect its calls, and what that changes.

use std::time::Duration;

use evenkeel::LbChannelBuilder;
use evenkeel::breaker::BreakerConfig;
use evenkeel::retry::RetryPolicy;
use evenkeel::stages::OutlierConfig;
use serde_json::json;

use crate::cell::Cell;
use crate::judge::{Expect, MayFail};
use crate::kind::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Armour {
    /// Nothing: what the channel does by itself.
    Plain,
    /// Retries of calls that may be executed twice, outlier ejection, circuit breakers.
    Guarded,
}

/// How often calls are looked at for an endpoint that stands out, and how long it is left alone then.
const INTERVAL: Duration = Duration::from_millis(200);
const EJECTED: Duration = Duration::from_millis(500);

impl Armour {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Guarded => "guarded",
        }
    }

    pub(crate) fn arm(self, builder: LbChannelBuilder, kind: Kind) -> LbChannelBuilder {
        match self {
            Self::Plain => builder,
            Self::Guarded => {
                let builder = builder.outlier_detection(outliers()).circuit_breaker(breakers());
                if kind.may_repeat() { builder.retry(retries()) } else { builder }
            }
        }
    }

    /// What the fault may cost these calls, if it may cost an unprotected one this much.
    pub(crate) fn expect(self, fault: Expect, cell: Cell) -> Expect {
        if self == Self::Plain {
            return fault;
        }
        let expect = match fault.may_fail {
            // Whether one that fails is ejected depends on how often a policy goes there: round_robin does.
            MayFail::Answered if cell.policy == "round_robin" => {
                Expect { left_within: Some(INTERVAL), back_within: Some(EJECTED), ..fault }
            }
            _ => fault,
        };
        if cell.kind.may_repeat() { Expect { may_fail: repeated(fault.may_fail, cell), ..expect } } else { expect }
    }
}

fn repeated(may_fail: MayFail, cell: Cell) -> MayFail {
    match may_fail {
        MayFail::Nobody => MayFail::Nobody,
        MayFail::Answered => MayFail::Nobody,
        // What has begun to answer is not repeated.
        MayFail::InProgress if cell.kind.answers_early() => MayFail::Begun,
        MayFail::InProgressEachTime if cell.kind.answers_early() => MayFail::BegunEachTime,
        other => {
            debug_assert!(matches!(other, MayFail::InProgress | MayFail::InProgressEachTime), "{other:?} is of guarded channels");
            MayFail::Nobody
        }
    }
}

/// Up to three retries, soon.
fn retries() -> RetryPolicy {
    let policy = RetryPolicy::default().with_initial_backoff(Duration::from_millis(10)).unwrap();
    policy.with_max_backoff(Duration::from_millis(100)).unwrap()
}

/// The preset, but for the time it stays open.
fn breakers() -> BreakerConfig {
    BreakerConfig::default().open_time(EJECTED)
}

/// As gRFC A50 has it, but quick, and satisfied with few calls.
fn outliers() -> OutlierConfig {
    let measure = json!({"threshold": 50, "minimumHosts": 1, "requestVolume": 2});
    let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
    let config = json!({
        "interval": seconds(INTERVAL), "baseEjectionTime": seconds(EJECTED), "maxEjectionPercent": 40,
        "failurePercentageEjection": measure,
    });
    OutlierConfig::from_json(&config).unwrap()
}
