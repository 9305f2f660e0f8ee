//! The judge sees what it is there to see.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::armour::Armour;
use crate::cell::{Cell, Seen};
use crate::judge::{Expect, MayFail};
use crate::kind::Kind;
use crate::traffic::{Failure, Record};

const VICTIM: &str = "127.0.0.1:1";

fn expect(may_fail: MayFail) -> Expect {
    Expect { may_fail, left_within: Some(Duration::ZERO), back_within: Some(Duration::ZERO) }
}

/// A cell of a fault at second 10 that was left at 11, ended at 20 and was over at 21. One call from second to second, in progress when
/// it failed with a connection to `lost_at`.
fn seen(began: u64, ended: u64, lost_at: &str) -> Seen {
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let failure = Failure {
        code: Code::Unavailable,
        lost_at: Some(lost_at.to_owned()),
        by_server: false,
        begun: false,
        message: "lost".to_owned(),
    };
    Seen {
        armour: Armour::Plain,
        cell: Cell { policy: "round_robin", kind: Kind::UnaryOnce },
        victim: VICTIM.to_owned(),
        records: vec![Record { id: 1, began: at(began), ended: at(ended), failure: Some(failure) }],
        executed: [("1".to_owned(), 1)].into(),
        losses: 1,
        answered: 0,
        begun: at(10),
        left: Some(at(11)),
        ended: at(20),
        back: Some(at(21)),
    }
}

fn is_right(seen: &Seen, may_fail: MayFail) -> bool {
    seen.verdict(&expect(may_fail)).is_empty()
}

#[test]
fn only_a_call_that_was_at_the_victim_when_it_happened_may_fail() {
    assert!(is_right(&seen(9, 11, VICTIM), MayFail::InProgress));
    assert!(!is_right(&seen(9, 11, VICTIM), MayFail::Nobody));
    assert!(!is_right(&seen(9, 11, VICTIM), MayFail::Begun), "its response had not begun");
    assert!(!is_right(&seen(9, 11, "127.0.0.1:2"), MayFail::InProgress), "it was elsewhere");
    assert!(!is_right(&seen(8, 9, VICTIM), MayFail::InProgress), "it was over");
    assert!(!is_right(&seen(12, 13, VICTIM), MayFail::InProgress), "the victim had been left");
    let mut more_than_callers = seen(9, 11, VICTIM);
    more_than_callers.records.extend((0..6).flat_map(|_| seen(9, 11, VICTIM).records));
    assert!(!is_right(&more_than_callers, MayFail::InProgressEachTime));
}

#[test]
fn every_answer_of_a_failing_server_is_a_failed_call_and_no_other_is() {
    let mut answered = seen(12, 13, VICTIM);
    let failure = answered.records[0].failure.as_mut().unwrap();
    (failure.by_server, failure.lost_at) = (true, None);
    assert!(!is_right(&answered, MayFail::Answered), "it answered nothing");
    answered.answered = 1;
    assert!(is_right(&answered, MayFail::Answered));
    answered.answered = 2;
    assert!(!is_right(&answered, MayFail::Answered), "an answer was lost");
}

#[test]
fn a_call_executed_twice_is_wrong_unless_a_policy_may_repeat_it() {
    let mut twice = seen(9, 11, VICTIM);
    twice.records[0].failure = None;
    assert!(is_right(&twice, MayFail::Nobody));
    twice.executed = [("1".to_owned(), 2)].into();
    assert!(!is_right(&twice, MayFail::Nobody));
    twice.armour = Armour::Guarded;
    assert!(!is_right(&twice, MayFail::Nobody), "this kind may not be repeated");
    twice.cell.kind = Kind::Unary;
    assert!(is_right(&twice, MayFail::Nobody));
    twice.armour = Armour::Plain;
    assert!(!is_right(&twice, MayFail::Nobody), "nothing repeats it there");
}

#[test]
fn a_victim_that_is_left_or_taken_back_too_late_is_seen() {
    let mut late = seen(9, 11, VICTIM);
    late.left = Some(late.begun + Duration::from_secs(11));
    assert!(!is_right(&late, MayFail::InProgress));
    let mut late = seen(9, 11, VICTIM);
    late.back = Some(late.ended + Duration::from_secs(11));
    assert!(!is_right(&late, MayFail::InProgress));
}
