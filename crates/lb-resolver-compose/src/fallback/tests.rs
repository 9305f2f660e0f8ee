use lb_core::ResolveErrorKind;
use lb_core::Trigger;
use lb_testkit::FakeResolverHandle;

use super::*;
use crate::testing::*;

struct Pair {
    stream: ResolverStream,
    again: Trigger,
    primary: FakeResolverHandle,
    secondary: FakeResolverHandle,
}

fn pair(configure: impl FnOnce(FallbackResolver) -> FallbackResolver) -> Pair {
    let ((a, primary), (b, secondary)) = (fake("a"), fake("b"));
    let (stream, again) = open(&configure(FallbackResolver::new("mine", a, b)));
    Pair { stream, again, primary, secondary }
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_answers_is_all_there_is() {
    let mut it = pair(|it| it);
    it.primary.endpoints([endpoint("10.0.0.1:1")]);
    assert_eq!(keys(now(&mut it.stream)), ["10.0.0.1:1"]);
    assert!(pass(&mut it.stream, 3_600_000).await.is_none());
    it.primary.endpoints([]);
    assert_eq!(keys(now(&mut it.stream)), [""; 0], "an empty answer is an answer");
    assert!(pass(&mut it.stream, 3_600_000).await.is_none());
    assert_eq!(it.secondary.resolves(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_never_answers_is_stood_in_for_after_a_time() {
    let mut it = pair(|it| it);
    it.secondary.endpoints([endpoint("10.0.0.2:1")]);
    assert!(pass(&mut it.stream, 9_990).await.is_none());
    assert_eq!(it.secondary.resolves(), 0);
    let set = pass(&mut it.stream, 20).await.unwrap().unwrap();
    assert_eq!(set.note.as_deref(), Some("b:///orders stands in for a:///orders"));
    assert_eq!(keys(Some(Ok(set))), ["10.0.0.2:1"]);
    it.primary.unavailable("down");
    assert!(now(&mut it.stream).is_none(), "not news while another stands in");
    it.secondary.unavailable("down too");
    assert_eq!(error(now(&mut it.stream)).message(), "b:///orders: down too");
    it.primary.endpoints([endpoint("10.0.0.1:1")]);
    assert_eq!(keys(now(&mut it.stream)), ["10.0.0.1:1"]);
    assert_eq!(it.secondary.watching(), 0, "let go");
}

#[tokio::test(start_paused = true)]
async fn only_an_unbroken_failure_counts() {
    let mut it = pair(|it| it.with_after(Duration::from_secs(4)));
    it.secondary.endpoints([endpoint("10.0.0.2:1")]);
    for _ in 0..5 {
        it.primary.endpoints([endpoint("10.0.0.1:1")]);
        assert_eq!(keys(now(&mut it.stream)), ["10.0.0.1:1"]);
        it.primary.error(ResolveError::new(ResolveErrorKind::Refused, "no"));
        assert_eq!(error(now(&mut it.stream)).kind(), ResolveErrorKind::Refused);
        assert!(pass(&mut it.stream, 3_900).await.is_none());
        it.primary.unavailable("down");
        assert!(now(&mut it.stream).unwrap().is_err(), "errors do not start the time anew");
    }
    assert_eq!(keys(pass(&mut it.stream, 200).await), ["10.0.0.2:1"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_secondary_takes_nothing_away() {
    let mut it = pair(|it| it);
    it.primary.endpoints([endpoint("10.0.0.1:1")]);
    assert!(now(&mut it.stream).unwrap().is_ok());
    it.primary.unavailable("down");
    assert!(now(&mut it.stream).unwrap().is_err());
    it.secondary.endpoints([]);
    assert!(pass(&mut it.stream, 10_001).await.is_none());
    it.primary.unavailable("still down");
    assert_eq!(error(now(&mut it.stream)).message(), "a:///orders: still down", "nobody stands in");
    it.secondary.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(keys(now(&mut it.stream)), ["10.0.0.2:1"]);
    it.secondary.endpoints([]);
    assert_eq!(keys(now(&mut it.stream)), [""; 0], "its own endpoints it may take back");
}

#[tokio::test(start_paused = true)]
async fn a_hold_time_keeps_a_flapping_primary_out() {
    let mut it = pair(|it| it.with_hold(Duration::from_secs(30)));
    it.secondary.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(keys(pass(&mut it.stream, 10_001).await), ["10.0.0.2:1"]);
    for _ in 0..3 {
        it.primary.endpoints([endpoint("10.0.0.1:1")]);
        assert!(pass(&mut it.stream, 29_000).await.is_none());
        it.primary.unavailable("down");
        assert!(pass(&mut it.stream, 29_000).await.is_none());
    }
    it.primary.endpoints([endpoint("10.0.0.1:1")]);
    assert!(pass(&mut it.stream, 20_000).await.is_none());
    it.primary.endpoints([endpoint("10.0.0.3:1")]);
    assert_eq!(keys(pass(&mut it.stream, 10_001).await), ["10.0.0.3:1"], "the newest answer, and no new hold for it");
    assert_eq!(it.secondary.watching(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_primary_counts_as_failing_if_so_wished() {
    let mut it = pair(FallbackResolver::when_empty);
    it.primary.endpoints([]);
    assert_eq!(keys(now(&mut it.stream)), [""; 0], "it takes nothing away yet");
    it.primary.endpoints([endpoint("10.0.0.1:1")]);
    assert_eq!(keys(now(&mut it.stream)), ["10.0.0.1:1"]);
    it.primary.endpoints([]);
    assert!(pass(&mut it.stream, 9_990).await.is_none());
    it.secondary.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(keys(pass(&mut it.stream, 20).await), ["10.0.0.2:1"]);
    it.primary.endpoints([endpoint("10.0.0.1:1")]);
    assert_eq!(keys(now(&mut it.stream)), ["10.0.0.1:1"]);
    it.primary.endpoints([]);
    it.secondary.endpoints([]);
    assert_eq!(keys(pass(&mut it.stream, 10_001).await), [""; 0], "both say so");
}

#[tokio::test(start_paused = true)]
async fn looking_again_reaches_who_is_asked_and_dropping_stops_all() {
    let mut it = pair(|it| it);
    it.again.fire();
    assert!(now(&mut it.stream).is_none());
    assert_eq!((it.primary.again(), it.secondary.again()), (1, 0));
    assert!(pass(&mut it.stream, 10_001).await.is_none());
    it.again.fire();
    assert!(now(&mut it.stream).is_none());
    assert_eq!((it.primary.again(), it.secondary.again()), (2, 1));
    drop(it.stream);
    assert_eq!((it.primary.watching(), it.secondary.watching()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_ends_without_an_answer_has_failed() {
    let mut it = pair(|it| it);
    it.secondary.endpoints([endpoint("10.0.0.2:1")]);
    assert!(now(&mut it.stream).is_none());
    it.primary.end();
    assert_eq!(error(now(&mut it.stream)).message(), "a:///orders: the resolver ended without an answer");
    assert_eq!(keys(pass(&mut it.stream, 10_001).await), ["10.0.0.2:1"]);
}
