use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::endpoint;

/// What a source may say: ports of a few endpoints, or an error by number.
#[derive(Debug, Clone)]
enum Said {
    Set(Vec<u16>),
    Error(u8),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => prop::collection::vec(1_u16..12, 0..6).prop_map(Said::Set),
        1 => (0_u8..3).prop_map(Said::Error),
    ]
}

fn answer(source: usize, said: &Said) -> Answer {
    match said {
        // The weight says whose attributes were taken.
        Said::Set(ports) => {
            let one = |port: &u16| endpoint(&format!("10.0.0.1:{port}")).with_weight(source as u32);
            Ok(ResolverUpdate::new(ports.iter().map(one).collect()))
        }
        Said::Error(number) => Err(ResolveError::new(ResolveErrorKind::Unavailable, format!("{source}: {number}"))),
    }
}

/// The truth by another way: later sources first, so that earlier ones overwrite them.
fn truth(last: &[Option<Vec<u16>>]) -> BTreeMap<String, u32> {
    let sets = last.iter().enumerate().rev();
    let keys = sets.flat_map(|(source, ports)| ports.iter().flatten().map(move |port| (format!("10.0.0.1:{port}"), source as u32)));
    keys.collect()
}

fn drain(merge: &mut Merge) -> Vec<Answer> {
    std::iter::from_fn(|| merge.pop()).collect()
}

proptest! {
    #[test]
    fn the_set_is_always_the_union_of_the_last_good_parts(
        sources in 1_usize..4,
        story in prop::collection::vec((0_usize..4, said()), 1..40),
        opens_at in 0_usize..40,
    ) {
        let mut merge = Merge::new((0..sources).map(|at| at.to_string()));
        let mut last: Vec<Option<Vec<u16>>> = vec![None; sources];
        let mut shown: Option<BTreeMap<String, u32>> = None;
        for (step, (source, said)) in story.into_iter().enumerate() {
            let source = source % sources;
            if let Said::Set(ports) = &said {
                last[source] = Some(ports.clone());
            }
            merge.take(source, answer(source, &said));
            if step == opens_at && !merge.is_open() {
                merge.open();
            }
            let out = drain(&mut merge);
            prop_assert!(out.len() <= sources + 1, "bounded");
            prop_assert!(merge.is_open() || out.is_empty(), "silent until all have spoken or the grace period is over");
            for set in out.iter().flatten() {
                let keys: Vec<_> = set.endpoints.iter().map(|endpoint| endpoint.key().as_str()).collect();
                let weights: BTreeMap<_, _> =
                    set.endpoints.iter().map(|endpoint| (endpoint.key().to_string(), endpoint.attributes.weight)).collect();
                prop_assert_eq!(keys.len(), weights.len(), "no key twice");
                shown = Some(weights);
            }
            if merge.is_open() && last.iter().any(Option::is_some) {
                prop_assert_eq!(shown.as_ref(), Some(&truth(&last)));
            }
        }
    }
}

#[test]
fn not_found_needs_every_source_to_say_so() {
    let error = |kind| Err(ResolveError::new(kind, format!("{kind:?}")));
    for (second, expected) in [
        (ResolveErrorKind::NotFound, ResolveErrorKind::NotFound),
        (ResolveErrorKind::Refused, ResolveErrorKind::Refused),
        (ResolveErrorKind::Unavailable, ResolveErrorKind::Unavailable),
    ] {
        let mut merge = Merge::new(["a".to_owned(), "b".to_owned()]);
        merge.take(0, error(ResolveErrorKind::NotFound));
        merge.take(1, error(second));
        let out = drain(&mut merge);
        let [Err(told)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(told.kind(), expected);
        assert!(told.message().contains("NotFound") && told.message().contains(&format!("{second:?}")), "{told}");
    }
    let mut merge = Merge::new(["a".to_owned(), "b".to_owned()]);
    merge.take(0, error(ResolveErrorKind::NotFound));
    merge.open();
    assert_eq!(merge.pop().unwrap().unwrap_err().kind(), ResolveErrorKind::Unavailable, "the other may know it");
}
