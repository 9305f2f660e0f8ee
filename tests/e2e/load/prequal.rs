//! `prequal` over servers with everything `lb-server` has: the slow one gets little.

use std::time::Duration;

use evenkeel::LbChannel;
use lb_server::{LoadRecorder, LoadReportLayer, ProbeService};
use lb_testkit::{EchoControl, EchoServer, Latency};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::support::{call, ready, soon, target};

const SLOW: Duration = Duration::from_millis(40);
const FAST: Duration = Duration::from_millis(4);
const CALLERS: usize = 4;
const CALLS: usize = 60;

async fn serve(latency: Duration) -> (EchoControl, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (control, echo) = EchoServer::builder().latency(Latency::Fixed(latency)).service();
    let load = LoadRecorder::new();
    let layer = LoadReportLayer::new(load.clone());
    let router = Server::builder().layer(layer).add_service(echo).add_service(ProbeService::new(load));
    tokio::spawn(async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
    (control, addr)
}

#[tokio::test]
async fn a_slow_server_gets_few_calls_with_and_without_probes() {
    // With probes the fast one is at times seen with a few calls in flight while the slow one, seen cold, has no rival in the pool.
    for (probes, most) in [(0.0, 0.2), (1.0, 0.3)] {
        let (slow, slow_addr) = serve(SLOW).await;
        let (fast, fast_addr) = serve(FAST).await;
        let policy = ("prequal", json!({ "probesPerCall": probes }));
        let channel = LbChannel::builder(target([slow_addr, fast_addr])).policy(policy).build().unwrap();
        ready(&channel, 2).await;
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let channel = channel.clone();
            callers.spawn(async move {
                for _ in 0..CALLS {
                    call(&channel).await.unwrap();
                }
            });
        }
        soon("the calls", async { while callers.join_next().await.is_some() {} }).await;
        let (slow, fast) = (slow.calls(), fast.calls());
        assert_eq!(slow + fast, (CALLERS * CALLS) as u64);
        let share = slow as f64 / (slow + fast) as f64;
        assert!(share < most, "{probes} probes a call: {share:.3}; round robin gives it half");
    }
}
