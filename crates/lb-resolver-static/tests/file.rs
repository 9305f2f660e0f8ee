//! The file resolver on a real file system: every way a file is replaced, and what a bad edit does.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_static::FileResolver;

/// Generous: only a broken resolver waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of its own per test, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("lb-file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Relies on the watch alone: the poll never comes.
fn watched() -> FileResolver {
    FileResolver::new().with_debounce(Duration::from_millis(30)).with_poll_interval(Duration::from_secs(3600))
}

fn open(resolver: &FileResolver, path: &Path) -> (Trigger, ResolverStream) {
    let target = Target::parse(&format!("file://{}", path.display()), &|scheme| scheme == "file").unwrap();
    let (trigger, again) = Trigger::pair();
    (trigger, resolver.resolve(&target, again))
}

async fn next(stream: &mut ResolverStream) -> Result<Vec<String>, ResolveError> {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("nothing was yielded").expect("the stream ended");
    item.map(|update| update.endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect())
}

/// Skips what may come in between, such as the error of a file that is briefly missing.
async fn until(stream: &mut ResolverStream, expected: &[&str]) {
    while next(stream).await.ok().is_none_or(|keys| keys != expected) {}
}

#[tokio::test]
async fn every_way_of_replacing_the_file_is_seen() {
    let scratch = Scratch::new();
    let file = scratch.join("orders.json");
    fs::write(&file, r#"["a:1"]"#).unwrap();
    let (_trigger, mut stream) = open(&watched(), &file);
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);

    fs::write(scratch.join("new"), r#"["b:1"]"#).unwrap();
    fs::rename(scratch.join("new"), &file).unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), ["b:1"]);

    fs::write(&file, r#"["c:1", "d:1"]"#).unwrap();
    until(&mut stream, &["c:1", "d:1"]).await;

    fs::remove_file(&file).unwrap();
    assert_eq!(next(&mut stream).await.unwrap_err().kind(), ResolveErrorKind::NotFound);
    fs::write(&file, r#"["e:1"]"#).unwrap();
    until(&mut stream, &["e:1"]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_symlink_swap_of_a_config_map_is_seen() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new();
    for (version, endpoint) in [("..v1", "a:1"), ("..v2", "b:1")] {
        fs::create_dir(scratch.join(version)).unwrap();
        fs::write(scratch.join(version).join("orders.yaml"), format!("- {endpoint}\n")).unwrap();
    }
    symlink("..v1", scratch.join("..data")).unwrap();
    symlink("..data/orders.yaml", scratch.join("orders.yaml")).unwrap();
    let (_trigger, mut stream) = open(&watched(), &scratch.join("orders.yaml"));
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);

    symlink("..v2", scratch.join("..data_tmp")).unwrap();
    fs::rename(scratch.join("..data_tmp"), scratch.join("..data")).unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), ["b:1"]);

    // The new place is watched from now on.
    fs::write(scratch.join("..v2/orders.yaml"), "- c:1\n").unwrap();
    until(&mut stream, &["c:1"]).await;
}

#[tokio::test]
async fn a_bad_edit_is_an_error_that_says_where_and_the_repaired_file_counts_again() {
    let scratch = Scratch::new();
    let file = scratch.join("orders.yaml");
    fs::write(&file, "- a:1\n").unwrap();
    let (_trigger, mut stream) = open(&watched(), &file);
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);

    let replace = |text: &str| {
        fs::write(scratch.join("new"), text).unwrap();
        fs::rename(scratch.join("new"), &file).unwrap();
    };
    replace("- address: b:1\n- address: c:1\n  wieght: 2\n");
    let error = next(&mut stream).await.unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Malformed);
    for part in [file.to_str().unwrap(), "line 3", "wieght", "weight"] {
        assert!(error.message().contains(part), "{error} lacks {part}");
    }
    // The very set that was there before is yielded again, as the end of the error.
    replace("- a:1\n");
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);
}

#[tokio::test]
async fn a_file_that_says_the_same_is_no_news() {
    let scratch = Scratch::new();
    let file = scratch.join("orders.json");
    fs::write(&file, r#"["a:1"]"#).unwrap();
    let (trigger, mut stream) = open(&watched(), &file);
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);
    for _ in 0..3 {
        fs::write(scratch.join("new"), r#"["a:1"]"#).unwrap();
        fs::rename(scratch.join("new"), &file).unwrap();
        trigger.fire();
    }
    // The next news is the next change, not one of the rewrites.
    fs::write(scratch.join("new"), r#"["b:1"]"#).unwrap();
    fs::rename(scratch.join("new"), &file).unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), ["b:1"]);
    assert!(stream.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_directory_that_appears_later_is_found_by_polling() {
    let scratch = Scratch::new();
    let file = scratch.join("later/orders.json");
    let resolver = watched().with_poll_interval(Duration::from_millis(50));
    let (_trigger, mut stream) = open(&resolver, &file);
    assert_eq!(next(&mut stream).await.unwrap_err().kind(), ResolveErrorKind::NotFound);
    fs::create_dir(scratch.join("later")).unwrap();
    fs::write(scratch.join("new"), r#"["a:1"]"#).unwrap();
    fs::rename(scratch.join("new"), &file).unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);

    // And one that is replaced as a whole.
    fs::rename(scratch.join("later"), scratch.join("old")).unwrap();
    fs::create_dir(scratch.join("later")).unwrap();
    fs::write(&file, r#"["b:1"]"#).unwrap();
    until(&mut stream, &["b:1"]).await;
}

#[tokio::test]
async fn asking_again_reads_at_once() {
    let scratch = Scratch::new();
    let file = scratch.join("later/orders.json");
    let (trigger, mut stream) = open(&watched(), &file);
    assert!(next(&mut stream).await.is_err());
    // Nobody watches a directory that was not there, and the poll is an hour away.
    fs::create_dir(scratch.join("later")).unwrap();
    fs::write(&file, r#"["a:1"]"#).unwrap();
    trigger.fire();
    assert_eq!(next(&mut stream).await.unwrap(), ["a:1"]);
}

#[tokio::test]
async fn sizes_and_kinds_of_file_are_checked_before_reading() {
    let scratch = Scratch::new();
    let file = scratch.join("orders.json");
    fs::write(&file, r#"["a:1"]      "#).unwrap();
    let (_trigger, mut stream) = open(&watched().with_max_bytes(10), &file);
    let error = next(&mut stream).await.unwrap_err();
    assert!(error.message().contains("13 bytes; at most 10"), "{error}");

    let (_trigger, mut stream) = open(&watched().with_max_endpoints(0), &file);
    assert!(next(&mut stream).await.unwrap_err().message().contains("at most 0"));

    fs::create_dir(scratch.join("dir.json")).unwrap();
    let (_trigger, mut stream) = open(&watched(), &scratch.join("dir.json"));
    assert!(next(&mut stream).await.unwrap_err().message().contains("not a regular file"));

    fs::write(scratch.join("latin.json"), b"[\"\xe4:1\"]").unwrap();
    let (_trigger, mut stream) = open(&watched(), &scratch.join("latin.json"));
    assert!(next(&mut stream).await.unwrap_err().message().contains("not UTF-8"));
}
