//! How often a server that does not work is tried.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel::{BackoffConfig, ConnectivityState, LbChannel, LbChannelBuilder};
use lb_testkit::{EchoServer, RawServer};

use crate::support::{call, info, ready, target, until, until_state};

/// 100, 200, 400, 800 ms, without jitter.
fn table() -> BackoffConfig {
    let (initial, max) = (Duration::from_millis(100), Duration::from_millis(800));
    BackoffConfig::try_new(initial, 2.0, max, 0.0, Duration::from_millis(300)).unwrap()
}

fn builder(addr: std::net::SocketAddr) -> LbChannelBuilder {
    LbChannel::builder(target([addr])).backoff(table())
}

/// Accepts, does this with the connection, and notes when.
async fn noting(words: &'static [u8], stay: bool) -> (RawServer, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::<Mutex<Vec<Instant>>>::default();
    let noted = Arc::clone(&times);
    let server = RawServer::start(move |mut conn| {
        noted.lock().unwrap().push(Instant::now());
        async move {
            conn.write(words).await?;
            if stay { conn.drain().await } else { Ok(()) }
        }
    });
    (server.await.unwrap(), times)
}

/// Time between attempts, in milliseconds, once there were so many.
async fn gaps(channel: &LbChannel, times: &Mutex<Vec<Instant>>, attempts: usize) -> Vec<u128> {
    channel.exit_idle();
    until(&format!("{attempts} attempts"), || times.lock().unwrap().len() >= attempts).await;
    let times = times.lock().unwrap();
    times.windows(2).take(attempts - 1).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
}

/// Not earlier than the table says, but for what the kernel and the timer may move an accept; later only by what a busy machine needs.
fn as_listed(gaps: &[u128], listed: &[u128]) {
    for (gap, listed) in gaps.iter().zip(listed) {
        assert!(*gap + 40 >= *listed && *gap < *listed + 1_500, "gaps {gaps:?}, listed {listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_every_connection_is_tried_as_the_table_says() {
    let (server, times) = noting(b"", false).await;
    let channel = builder(server.addr()).build().unwrap();
    as_listed(&gaps(&channel, &times, 6).await, &[100, 200, 400, 800, 800]);
    assert_eq!(channel.state(), ConnectivityState::TransientFailure);
}

/// The attempt itself takes 300 ms, and the delay counts from its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_costs_its_timeout_and_no_more() {
    let (server, times) = noting(b"", true).await;
    let channel = builder(server.addr()).build().unwrap();
    as_listed(&gaps(&channel, &times, 5).await, &[300, 300, 400, 800]);
    let error = info(&channel, server.addr()).error.unwrap();
    assert!(error.contains("SETTINGS"), "{error}");
}

/// A handshake that succeeds resets the backoff, so that only the pause after a short life is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_every_connection_away_is_not_hammered() {
    // SETTINGS without content, and GOAWAY with NO_ERROR.
    let words = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0";
    let (server, times) = noting(words, true).await;
    let channel = builder(server.addr()).build().unwrap();
    as_listed(&gaps(&channel, &times, 6).await, &[100; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_starts_the_table_anew() {
    let mut server = EchoServer::start("s").await.unwrap();
    let channel = builder(server.addr()).build().unwrap();
    for _ in 0..3 {
        ready(&channel, 1).await;
        call(&channel).await.unwrap();
        server.kill().await;
        until_state(&channel, server.addr(), ConnectivityState::TransientFailure).await;
        server.restart().await.unwrap();
        let restarted = Instant::now();
        until_state(&channel, server.addr(), ConnectivityState::Ready).await;
        assert!(restarted.elapsed() < Duration::from_millis(800) + Duration::from_secs(2));
    }
}
