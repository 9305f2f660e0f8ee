use lb_core::ResolverUpdate;
use lb_core::ServiceConfigUpdate;
use serde_json::json;

use super::*;
use crate::testing::*;

#[tokio::test(start_paused = true)]
async fn nothing_before_each_has_spoken_then_the_union() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]));
    from_a.endpoints([endpoint("10.0.0.1:1"), endpoint("10.0.0.2:1")]);
    assert!(pass(&mut stream, 4_999).await.is_none());
    from_b.endpoints([endpoint("10.0.0.2:1").with_weight(7), endpoint("10.0.0.3:1")]);
    let set = now(&mut stream).unwrap().unwrap();
    assert_eq!(set.note, None);
    assert_eq!(keys(Some(Ok(set.clone()))), ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(set.endpoints[1].attributes.weight, 1, "the first source's attributes count");
    from_a.endpoints([]);
    let set = now(&mut stream).unwrap().unwrap();
    assert_eq!(set.endpoints[0].attributes.weight, 7, "an empty part goes alone");
    assert_eq!(set.endpoints.len(), 2);
    from_a.endpoints([]);
    assert!(now(&mut stream).is_none(), "no change, no set");
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_period_the_set_says_who_is_missing() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]));
    from_a.endpoints([endpoint("10.0.0.1:1")]);
    let set = pass(&mut stream, 5_001).await.unwrap().unwrap();
    assert_eq!(set.note.as_deref(), Some("b:///orders: no answer yet"));
    from_b.endpoints([endpoint("10.0.0.1:1")]);
    assert!(now(&mut stream).is_none(), "nothing new but that it answers");
    from_b.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(keys(now(&mut stream)), ["10.0.0.1:1", "10.0.0.2:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_first_answer_is_passed_on_at_once() {
    let ((a, _from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]).with_grace(Duration::from_secs(1)));
    assert!(pass(&mut stream, 60_000).await.is_none());
    from_b.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(keys(now(&mut stream)), ["10.0.0.2:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_keeps_its_part_and_is_named_once() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]));
    from_a.endpoints([endpoint("10.0.0.1:1")]);
    from_b.error(ResolveError::new(ResolveErrorKind::Refused, "no rights"));
    assert_eq!(keys(now(&mut stream)), ["10.0.0.1:1"]);
    let told = error(now(&mut stream));
    assert_eq!((told.kind(), told.message()), (ResolveErrorKind::Refused, "b:///orders: no rights"));
    from_b.error(ResolveError::new(ResolveErrorKind::Refused, "no rights"));
    assert!(now(&mut stream).is_none(), "told already");
    from_b.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(keys(now(&mut stream)).len(), 2);
    from_b.unavailable("down");
    assert_eq!(error(now(&mut stream)).message(), "b:///orders: down");
    from_a.endpoints([endpoint("10.0.0.9:1")]);
    let set = now(&mut stream).unwrap().unwrap();
    assert_eq!(set.note.as_deref(), Some("b:///orders: down, its last answer stands"));
    assert_eq!(keys(Some(Ok(set))), ["10.0.0.9:1", "10.0.0.2:1"]);
    from_b.endpoints([endpoint("10.0.0.2:1")]);
    assert_eq!(now(&mut stream).unwrap().unwrap().note, None, "the same set, told because the failure is over");
}

#[tokio::test(start_paused = true)]
async fn while_nothing_was_ever_resolved_every_error_is_told() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]));
    from_a.unavailable("one");
    assert!(now(&mut stream).is_none());
    from_b.unavailable("two");
    for _ in 0..2 {
        assert_eq!(error(now(&mut stream)).message(), "a:///orders: one; b:///orders: two");
        assert!(now(&mut stream).is_none());
        from_a.unavailable("one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_keeps_its_last_answer_or_is_an_error() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]));
    from_a.endpoints([endpoint("10.0.0.1:1")]);
    from_a.end();
    from_b.end();
    assert_eq!(keys(now(&mut stream)), ["10.0.0.1:1"]);
    assert_eq!(error(now(&mut stream)).message(), "b:///orders: the resolver ended without an answer");
    assert!(now(&mut stream).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_service_config_is_of_the_first_that_has_one() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, _again) = open(&MergedResolver::new("mine", [a, b]));
    let config = |name: &str| ServiceConfigUpdate::Json(json!({ "from": name }));
    from_a.endpoints([]);
    from_b.update(ResolverUpdate::default().with_service_config(config("b")));
    assert_eq!(now(&mut stream).unwrap().unwrap().service_config, config("b"));
    from_a.update(ResolverUpdate::default().with_service_config(config("a")).with_note("word"));
    let set = now(&mut stream).unwrap().unwrap();
    assert_eq!((set.service_config, set.note.as_deref()), (config("a"), Some("word")));
}

#[tokio::test(start_paused = true)]
async fn looking_again_reaches_all_and_dropping_stops_all() {
    let ((a, from_a), (b, from_b)) = (fake("a"), fake("b"));
    let (mut stream, again) = open(&MergedResolver::new("mine", [a, b]));
    again.fire();
    assert!(now(&mut stream).is_none());
    assert_eq!((from_a.again(), from_b.again()), (1, 1));
    drop(stream);
    assert_eq!((from_a.watching(), from_b.watching()), (0, 0));
}

#[test]
fn merging_nothing_is_an_error_of_the_target() {
    let target = Target::parse("mine:///orders", &|_| true).unwrap();
    let error = MergedResolver::new("mine", []).validate(&target).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::InvalidTarget);
}
