//! Real files and real time, because a paused clock runs ahead of the threads that read and write. Nothing here waits for a
//! time: start-up times are nothing or an hour, and what is on disk is waited for.

use std::fs;
use std::time::SystemTime;

use futures_util::StreamExt;
use lb_core::ResolveErrorKind;
use lb_core::ResolverUpdate;
use lb_testkit::FakeResolverHandle;

use super::*;
use crate::Answer;
use crate::testing::*;

/// Longer than any test takes.
const HOUR: Duration = Duration::from_secs(3600);

/// A directory of its own, gone with it.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        use std::hash::BuildHasher;
        let name = format!("evenkeel-cache-{:016x}", std::hash::RandomState::new().hash_one(0));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.join("cache")
    }

    pub(super) fn names(&self) -> Vec<String> {
        fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn file(&self) -> CacheFile {
        CacheFile { path: self.path(), target: "a:///orders".to_owned(), max_age: HOUR }
    }

    fn holds(&self, texts: &[&str]) {
        self.file().write(&ResolverUpdate::new(endpoints(texts)), SystemTime::now() - Duration::from_secs(75)).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn cached(place: &Place, start_up: Duration) -> (ResolverStream, FakeResolverHandle, lb_core::Trigger) {
    let (source, handle) = fake("a");
    let resolver = CachedResolver::new("mine", source, place.path()).with_start_up(start_up).with_max_age(HOUR);
    let (stream, again) = open(&resolver);
    (stream, handle, again)
}

async fn next(stream: &mut ResolverStream) -> Answer {
    tokio::time::timeout(Duration::from_secs(30), stream.next()).await.expect("an answer").unwrap()
}

/// Drives the stream, which says nothing, until the file holds this.
async fn saved(stream: &mut ResolverStream, place: &Place, texts: &[&str]) {
    let on_disk = async {
        while place.file().read(SystemTime::now()).ok().flatten().is_none_or(|loaded| loaded.update.endpoints != endpoints(texts)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = stream.next() => panic!("{answer:?}"),
        done = tokio::time::timeout(Duration::from_secs(30), on_disk) => done.expect("saved"),
    }
}

#[tokio::test]
async fn a_failing_start_uses_the_file_and_then_says_why() {
    let place = Place::new();
    place.holds(&["10.0.0.1:1"]);
    let (mut stream, handle, _again) = cached(&place, HOUR);
    handle.error(ResolveError::new(ResolveErrorKind::Refused, "no token"));
    let set = next(&mut stream).await.unwrap();
    assert_eq!(set.endpoints, endpoints(&["10.0.0.1:1"]));
    let note = set.note.unwrap();
    assert!(note.contains("saved 1m 1") && note.ends_with("because: a:///orders: no token"), "{note}");
    assert_eq!(next(&mut stream).await.unwrap_err().kind(), ResolveErrorKind::Refused);
    handle.unavailable("later");
    assert_eq!(next(&mut stream).await.unwrap_err().message(), "a:///orders: later", "the file is used once");
    handle.endpoints(endpoints(&["10.0.0.2:1"]));
    let set = next(&mut stream).await.unwrap();
    assert_eq!((set.note, set.endpoints), (None, endpoints(&["10.0.0.2:1"])));
    saved(&mut stream, &place, &["10.0.0.2:1"]).await;
}

#[tokio::test]
async fn a_silent_start_uses_the_file() {
    let place = Place::new();
    place.holds(&["10.0.0.1:1"]);
    let (mut stream, handle, again) = cached(&place, Duration::ZERO);
    let set = next(&mut stream).await.unwrap();
    assert!(set.note.unwrap().ends_with("because: a:///orders has not answered yet"));
    again.fire();
    assert!(now(&mut stream).is_none());
    assert_eq!(handle.again(), 1);
    handle.unavailable("down");
    assert_eq!(error(now(&mut stream)).kind(), ResolveErrorKind::Unavailable);
    drop(stream);
    assert_eq!(handle.watching(), 0);
}

#[tokio::test]
async fn a_source_that_answers_makes_the_file_superfluous() {
    let place = Place::new();
    place.holds(&["10.0.0.1:1"]);
    let (mut stream, handle, _again) = cached(&place, HOUR);
    handle.endpoints(endpoints(&["10.0.0.2:1"]));
    assert_eq!(keys(now(&mut stream)), ["10.0.0.2:1"]);
    handle.unavailable("down");
    assert!(next(&mut stream).await.is_err(), "the channel has a set to keep");
    saved(&mut stream, &place, &["10.0.0.2:1"]).await;
}

#[tokio::test]
async fn what_changes_quickly_is_saved_once_it_is_written_again() {
    let place = Place::new();
    let (mut stream, handle, _again) = cached(&place, HOUR);
    for port in 1..=500 {
        handle.endpoints(endpoints(&[&format!("10.0.0.1:{port}")]));
        assert!(next(&mut stream).await.is_ok());
    }
    saved(&mut stream, &place, &["10.0.0.1:500"]).await;
    assert_eq!(place.names(), ["cache"]);
}

#[tokio::test]
async fn without_a_usable_file_errors_pass_and_the_next_set_mends_it() {
    for content in [None, Some("{"), Some("{}\n{}\n")] {
        let place = Place::new();
        if let Some(content) = content {
            fs::write(place.path(), content).unwrap();
        }
        let (mut stream, handle, _again) = cached(&place, HOUR);
        handle.unavailable("down");
        assert_eq!(next(&mut stream).await.unwrap_err().message(), "a:///orders: down");
        handle.endpoints(endpoints(&["10.0.0.1:1"]));
        assert!(next(&mut stream).await.is_ok());
        saved(&mut stream, &place, &["10.0.0.1:1"]).await;
    }
}

#[tokio::test]
async fn a_target_that_makes_no_sense_is_not_covered_up() {
    let place = Place::new();
    place.holds(&["10.0.0.1:1"]);
    let (mut stream, handle, _again) = cached(&place, HOUR);
    handle.error(ResolveError::new(ResolveErrorKind::InvalidTarget, "nonsense"));
    let told = next(&mut stream).await.expect_err("the error, and no set before it");
    assert_eq!(told.kind(), ResolveErrorKind::InvalidTarget);
}

#[tokio::test]
async fn a_disk_that_refuses_disturbs_nobody() {
    let place = Place::new();
    let path = place.path().join("missing").join("cache");
    let (source, handle) = fake("a");
    let (mut stream, _again) = open(&CachedResolver::new("mine", source, path).with_start_up(HOUR));
    for port in 1..20 {
        let one = format!("10.0.0.1:{port}");
        handle.endpoints(endpoints(&[&one]));
        assert_eq!(keys(now(&mut stream)), [one]);
    }
    handle.unavailable("down");
    assert!(next(&mut stream).await.is_err());
}

#[tokio::test]
async fn an_empty_set_is_kept_too_so_that_what_is_gone_does_not_come_back() {
    let place = Place::new();
    place.holds(&["10.0.0.1:1"]);
    let (mut stream, handle, _again) = cached(&place, HOUR);
    handle.endpoints([]);
    assert_eq!(keys(now(&mut stream)), [""; 0]);
    let gone = async {
        while place.file().read(SystemTime::now()).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = stream.next() => panic!("{answer:?}"),
        done = tokio::time::timeout(Duration::from_secs(30), gone) => done.expect("saved"),
    }
    let (mut stream, handle, _again) = cached(&place, HOUR);
    handle.unavailable("down");
    assert!(next(&mut stream).await.is_err());
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
    let place = Place::new();
    let made = std::process::Command::new("mkfifo").arg(place.path()).status();
    assert!(made.unwrap().success());
    let (mut stream, handle, _again) = cached(&place, HOUR);
    handle.unavailable("down");
    assert_eq!(next(&mut stream).await.unwrap_err().message(), "a:///orders: down");
}
