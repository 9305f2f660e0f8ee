//! Servers that die, hang and forget.

use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_testkit::services::KubeUser;

use crate::world::{Seen, World, pods, slice, slice_of};

/// How soon after the server's return the truth shows.
const RETURN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_under_a_watch() {
    let Some(mut world) = World::start().await else { return };
    world.create(&slice("a", pods(0..3))).await;
    world.create(&slice("b", pods(3..5))).await;
    let mut seen = world.watch();
    seen.until("five", |state| state.is(0..5)).await;
    for round in 0..3 {
        let errors = seen.now().errors.len();
        world.server.kill().unwrap();
        seen.until("it is told", |state| state.errors.len() >= errors + 2).await;
        let state = seen.now();
        assert!(state.is((0..5).chain(5..5 + round)), "last good stands: {state:?}");
        assert!(state.errors.iter().all(|(kind, _)| *kind == ResolveErrorKind::Unavailable), "{state:?}");
        assert!(state.last_error().contains("the endpoints known are of"), "{state:?}");
        world.server.restart().unwrap();
        world.create(&slice(&format!("c{round}"), pods([5 + round]))).await;
        let took = seen.until("changed after its return", |state| state.is(0..6 + round)).await;
        assert!(took < RETURN, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_writes() {
    let Some(mut world) = World::start().await else { return };
    world.create(&slice("a", pods(0..500))).await;
    let mut seen = world.watch();
    seen.until("500", |state| state.is(0..500)).await;
    // Large lines are on their way when it dies.
    let slices = world.slices.clone();
    let writer = tokio::spawn(async move {
        for last in 0.. {
            let changed = slice("a", pods((0..499).chain([600 + last % 100])));
            if slices.replace("a", &kube::api::PostParams::default(), &changed).await.is_err() {
                return;
            }
        }
    });
    let updates = seen.now().updates;
    seen.until("it writes", |state| state.updates > updates + 2).await;
    world.server.kill().unwrap();
    writer.await.unwrap();
    seen.until("it is told", |state| !state.errors.is_empty()).await;
    assert_eq!(seen.now().set.len(), 500, "the last good set stands");
    world.server.restart().unwrap();
    world.replace(&slice("a", pods(0..2))).await;
    let took = seen.until("after its return", |state| state.is(0..2)).await;
    assert!(took < RETURN, "{took:?}");
}

/// As long as an operator needs to notice, with every time limit at its default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_a_minute_it_is_noticed_within_it_and_followed_at_once() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods(0..3))).await;
    let mut seen = Seen::watch(world.config(KubeUser::Reader));
    seen.until("three", |state| state.is(0..3)).await;
    world.server.pause().unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let state = seen.now();
    assert!(state.is(0..3) && !state.errors.is_empty(), "noticed, and the last good set stands: {state:?}");
    world.server.resume().unwrap();
    world.replace(&slice("a", pods(0..4))).await;
    let took = seen.until("followed", |state| state.is(0..4)).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_it_is_noticed_and_thawed_it_is_followed() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods(0..3))).await;
    let second = Duration::from_secs(1);
    let config = world.config(KubeUser::Reader).with_watch_timeout(second).unwrap().with_timeout(second).unwrap();
    let mut seen = Seen::watch(config);
    seen.until("three", |state| state.is(0..3)).await;
    world.server.pause().unwrap();
    // The watch, its grace, and two requests that nobody answers.
    let took = seen.until("noticed", |state| !state.errors.is_empty()).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(seen.now().is(0..3));
    world.server.resume().unwrap();
    world.replace(&slice("a", pods(0..4))).await;
    let took = seen.until("followed", |state| state.is(0..4)).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_resumed_one_after_the_other() {
    let Some(world) = World::start().await else { return };
    world.create(&slice("a", pods([0]))).await;
    let config = world.config(KubeUser::Reader).with_watch_timeout(Duration::from_secs(1)).unwrap();
    let mut seen = Seen::watch(config);
    seen.until("the beginning", |state| state.is([0])).await;
    // Longer than four watches, with a change about each 50 ms.
    for round in 1..100 {
        world.replace(&slice("a", pods(0..=round % 10))).await;
        seen.until("each is seen", |state| state.is(0..=round % 10)).await;
    }
    assert_eq!(seen.now().errors, []);
    assert_eq!(seen.now().updates, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_history_is_followed_by_a_new_list() {
    let Some(mut world) = World::start_without_watch_cache().await else { return };
    world.create(&slice("a", pods([0]))).await;
    let config = world.config(KubeUser::Reader).with_watch_timeout(Duration::from_secs(1)).unwrap();
    let mut seen = Seen::watch(config);
    seen.until("one", |state| state.is([0])).await;
    for round in 1..4 {
        // The watch's version is left behind by what does not concern it, and forgotten.
        for other in 0..20 {
            world.create(&slice_of("others", &format!("o{round}-{other}"), vec![])).await;
        }
        world.server.etcd().compact().unwrap();
        world.replace(&slice("a", pods(0..=round))).await;
        seen.until("followed", |state| state.is(0..=round)).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert_eq!(seen.now().errors, [], "nothing to tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_data_and_versions_that_go_backwards() {
    let Some(mut world) = World::start().await else { return };
    for number in 0..20 {
        world.create(&slice(&format!("a{number}"), pods([number]))).await;
    }
    let mut seen = world.watch();
    seen.until("twenty", |state| state.is(0..20)).await;
    world.server.kill().unwrap();
    let etcd = world.server.etcd();
    etcd.kill(0).unwrap();
    etcd.wipe(0).unwrap();
    etcd.restart(0).unwrap();
    world.server.restart().unwrap();
    world.create(&slice("new", pods([30, 31]))).await;
    let took = seen.until("the new truth", |state| state.is([30, 31])).await;
    assert!(took < RETURN, "{took:?}");
    world.replace(&slice("new", pods([32]))).await;
    seen.until("and its changes", |state| state.is([32])).await;
}
