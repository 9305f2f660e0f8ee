//! What a cell must have been.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::armour::Armour;
use crate::cell::Seen;
use crate::traffic::{CALLERS, Failure, Record};

/// What a machine that does much else at the same time may add to any time.
const SLACK: Duration = Duration::from_secs(10);

/// What a fault may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect {
    pub(crate) may_fail: MayFail,
    /// How long it may take until the victim is left; `None` where it need not be.
    pub(crate) left_within: Option<Duration>,
    /// How long after the fault it may take until the victim serves again; `None` where it never stopped.
    pub(crate) back_within: Option<Duration>,
}

/// Which calls may fail. A call that was sent when its connection is lost may have been executed, and so may not be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayFail {
    Nobody,
    /// Those that were at the victim between the fault and the time it was left.
    InProgress,
    /// The same, whenever its connection was lost.
    InProgressEachTime,
    /// Those that the server put in the victim's place has answered: exactly those.
    Answered,
    /// As `InProgress`, if their response had begun.
    Begun,
    /// As `InProgressEachTime`, if their response had begun.
    BegunEachTime,
}

impl Seen {
    /// What is not as it must be.
    pub(crate) fn verdict(&self, expect: &Expect) -> Vec<String> {
        let mut wrong = self.failures(expect);
        wrong.extend(self.duplicates());
        let times = [("left", self.left_after(), expect.left_within), ("back", self.back_after(), expect.back_within)];
        for (what, took, bound) in times {
            if let (Some(took), Some(bound)) = (took, bound)
                && took > bound + SLACK
            {
                wrong.push(format!("{what} after {took:?}, and not within {bound:?}"));
            }
        }
        wrong
    }

    fn failures(&self, expect: &Expect) -> Vec<String> {
        let failed: Vec<(&Record, &Failure)> =
            self.records.iter().filter_map(|record| Some((record, record.failure.as_ref()?))).collect();
        let allowed = match expect.may_fail {
            MayFail::Nobody => 0,
            MayFail::InProgress | MayFail::Begun => CALLERS.min(self.in_progress().count()),
            MayFail::InProgressEachTime | MayFail::BegunEachTime => CALLERS * usize::try_from(self.losses).unwrap(),
            MayFail::Answered => usize::try_from(self.answered).unwrap(),
        };
        let mut wrong = Vec::new();
        if failed.len() > allowed {
            wrong.push(format!("{} calls failed, {allowed} might: {}", failed.len(), failed[0].1.message));
        }
        if expect.may_fail == MayFail::Answered && failed.len() != allowed {
            wrong.push(format!("{} calls failed of {allowed} that the failing server answered", failed.len()));
        }
        for (record, failure) in failed {
            let as_it_must = match expect.may_fail {
                MayFail::Nobody => true,
                MayFail::InProgress => self.was_in_progress(record) && self.lost_there(failure),
                MayFail::InProgressEachTime => self.lost_there(failure),
                MayFail::Begun => failure.begun && self.was_in_progress(record) && self.lost_there(failure),
                MayFail::BegunEachTime => failure.begun && self.lost_there(failure),
                MayFail::Answered => failure.by_server && failure.code == Code::Unavailable,
            };
            if !as_it_must {
                let (began, ended) = (self.since(record.began), self.since(record.ended));
                wrong.push(format!("call {} ({began} to {ended} s after the fault): {}", record.id, failure.message));
            }
        }
        wrong
    }

    /// The status says that the connection to the victim was lost.
    fn lost_there(&self, failure: &Failure) -> bool {
        failure.code == Code::Unavailable && failure.lost_at.as_ref() == Some(&self.victim)
    }

    fn in_progress(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| self.was_in_progress(record))
    }

    /// Whether the fault could touch it.
    fn was_in_progress(&self, record: &Record) -> bool {
        record.ended >= self.begun && record.began <= self.left.unwrap_or(self.ended)
    }

    fn duplicates(&self) -> Option<String> {
        let twice = self.twice();
        (twice > 0 && !(self.armour == Armour::Guarded && self.cell.kind.may_repeat()))
            .then(|| format!("{twice} calls were executed twice"))
    }

    /// For people: seconds after the fault.
    fn since(&self, at: Instant) -> String {
        match at.checked_duration_since(self.begun) {
            Some(after) => format!("{:.3}", after.as_secs_f64()),
            None => format!("-{:.3}", self.begun.duration_since(at).as_secs_f64()),
        }
    }
}
