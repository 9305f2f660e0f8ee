//! Alone in its process, because it counts threads.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use lb_core::Resolver;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_static::FileResolver;

fn watchers() -> usize {
    let names = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("notify")).count()
}

#[tokio::test]
async fn dropping_the_stream_ends_the_watching_thread() {
    let directory = std::env::temp_dir().join(format!("lb-file-threads-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("orders.json"), "[]").unwrap();
    let target = Target::parse(&format!("file://{}/orders.json", directory.display()), &|scheme| scheme == "file").unwrap();
    let mut streams: Vec<_> = (0..3).map(|_| FileResolver::new().resolve(&target, Trigger::pair().1)).collect();
    for stream in &mut streams {
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(watchers(), 3);
    drop(streams);
    let start = Instant::now();
    while watchers() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} threads still watch", watchers());
        tokio::task::yield_now().await;
    }
    fs::remove_dir_all(&directory).unwrap();
}
