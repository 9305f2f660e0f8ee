//! Reports in trailers, from the server's layer to the policy and the statistics.

use evenkeel::{LbChannel, LoadReport, Outcome};
use http::HeaderValue;
use http_body_util::BodyExt;
use lb_server::{LoadRecorder, LoadReportLayer, Trailers};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Server;

use super::listener::Listener;
use crate::support::{call, picked, ready, soon, target, until};

/// An echo server that adds these values of the trailer to the end of every response, behind the layer that reports load.
async fn serve(layer: LoadReportLayer, values: &'static [&'static str]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (_, echo) = EchoServer::builder().service();
    let add = move |response: http::Response<Body>| {
        response.map(|body| {
            Body::new(body.map_frame(move |mut frame| {
                if let Some(trailers) = frame.trailers_mut() {
                    for value in values {
                        trailers.append(lb_orca::trailer::NAME, HeaderValue::from_static(value));
                    }
                }
                frame
            }))
        })
    };
    let router = Server::builder().layer(layer).layer(tower::util::MapResponseLayer::new(add)).add_service(echo);
    tokio::spawn(async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
    addr
}

async fn channel(addr: std::net::SocketAddr, listener: &Listener) -> LbChannel {
    let channel = LbChannel::builder(target([addr])).policy(listener.policy("listener")).build().unwrap();
    ready(&channel, 1).await;
    channel
}

fn loaded() -> (LoadRecorder, LoadReportLayer) {
    let load = LoadRecorder::new();
    load.set_application_utilization(0.5).unwrap();
    load.set_named_metric("queue", 3.0).unwrap();
    (load.clone(), LoadReportLayer::new(load).trailers(Trailers::on_every_call()))
}

/// What of a report does not depend on time.
fn steady(report: &LoadReport) -> (f64, Option<u32>, Vec<f64>) {
    (report.application_utilization, report.in_flight, report.named_metrics.values().copied().collect())
}

#[tokio::test]
async fn a_unary_call_a_stream_and_a_failure_reach_policy_and_statistics() {
    let (_load, layer) = loaded();
    let listener = Listener::default().per_call();
    let channel = channel(serve(layer, &[]).await, &listener).await;
    let mut client = EchoClient::new(channel.clone());
    soon("a unary call", client.unary(EchoRequest::default())).await.unwrap();
    let mut replies = client.server_stream(EchoRequest { count: 2, ..EchoRequest::default() }).await.unwrap().into_inner();
    while let Some(_reply) = soon("a reply", replies.message()).await.unwrap() {}
    let fails = EchoRequest { fail_with: Code::Internal as u32, ..EchoRequest::default() };
    soon("a failure", client.unary(fails)).await.unwrap_err();

    until("all three have ended", || listener.done().len() == 3).await;
    let expected = (0.5, Some(0), vec![3.0]);
    let done = listener.done();
    for (outcome, load) in &done {
        assert_eq!(load.as_ref().map(steady).as_ref(), Some(&expected), "{outcome:?}");
    }
    assert_eq!(
        done.iter().map(|(outcome, _)| *outcome).collect::<Vec<_>>(),
        [Outcome::Success, Outcome::Success, Outcome::Failure]
    );
}

#[tokio::test]
async fn nothing_is_read_that_nobody_asked_for() {
    let (_load, layer) = loaded();
    let listener = Listener::default();
    let channel = channel(serve(layer, &[]).await, &listener).await;
    soon("a unary call", EchoClient::new(channel).unary(EchoRequest::default())).await.unwrap();
    until("it has ended", || listener.done().len() == 1).await;
    assert_eq!(listener.done()[0], (Outcome::Success, None));
}

#[tokio::test]
async fn garbage_two_reports_and_none_are_no_report_and_no_failure() {
    for values in [&["????"][..], &["////"], &["CQAAAAAAAOA/", "CQAAAAAAAOA/"], &[]] {
        let layer = LoadReportLayer::new(LoadRecorder::new()).trailers(Trailers::never());
        let listener = Listener::default().per_call();
        let channel = channel(serve(layer, values).await, &listener).await;
        soon("a unary call", EchoClient::new(channel).unary(EchoRequest::default())).await.unwrap();
        until("it has ended", || listener.done().len() == 1).await;
        assert_eq!(listener.done()[0], (Outcome::Success, None), "{values:?}");
    }
    // The same value once is a report, so it was not the value that was refused.
    let layer = LoadReportLayer::new(LoadRecorder::new()).trailers(Trailers::never());
    let listener = Listener::default().per_call();
    let channel = channel(serve(layer, &["CQAAAAAAAOA/"]).await, &listener).await;
    soon("a unary call", EchoClient::new(channel).unary(EchoRequest::default())).await.unwrap();
    until("it has ended", || listener.done().len() == 1).await;
    assert_eq!(listener.done()[0].1.as_ref().unwrap().cpu_utilization, 0.5);
}

#[tokio::test]
async fn calls_follow_what_servers_report() {
    let (one, one_layer) = loaded();
    let (two, two_layer) = loaded();
    let addrs = [serve(one_layer, &[]).await, serve(two_layer, &[]).await];
    let listener = Listener::default().per_call().following();
    let channel = LbChannel::builder(target(addrs)).policy(listener.policy("listener")).build().unwrap();
    ready(&channel, 2).await;
    for (busy, idle, to) in [(&one, &two, addrs[1]), (&two, &one, addrs[0]), (&one, &two, addrs[1])] {
        busy.set_application_utilization(0.9).unwrap();
        idle.set_application_utilization(0.1).unwrap();
        let calls = async {
            let mut in_a_row = 0;
            // One in twenty goes to the busy one to hear how it is there.
            while in_a_row < 10 {
                let went = picked(&call(&channel).await.unwrap()).0;
                in_a_row = if went == to.to_string() { in_a_row + 1 } else { 0 };
            }
        };
        soon("the calls go to the idle one", calls).await;
    }
}

#[tokio::test]
async fn weighted_round_robin_weighs_by_what_servers_report() {
    let (busy, busy_layer) = loaded();
    let (idle, idle_layer) = loaded();
    busy.set_application_utilization(0.9).unwrap();
    idle.set_application_utilization(0.3).unwrap();
    let addrs = [serve(busy_layer, &[]).await, serve(idle_layer, &[]).await];
    let config = serde_json::json!({ "blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s" });
    let builder = LbChannel::builder(target(addrs)).policy(("weighted_round_robin", config));
    let channel = builder.build().unwrap();
    ready(&channel, 2).await;
    // Nothing can be weighed in the first second: the servers do not know their calls a second yet.
    soon("the idle one gets its share", async {
        let mut idle_calls = 0;
        while idle_calls < 60 {
            idle_calls = 0;
            for _ in 0..100 {
                let went = picked(&call(&channel).await.unwrap()).0;
                idle_calls += u32::from(went == addrs[1].to_string());
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}
