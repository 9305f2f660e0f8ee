//! Reports out of band, and answers to probes.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use lb_core::LoadReport;
use lb_orca::{OUT_OF_BAND, OrcaLoadReport, OrcaLoadReportRequest, PROBES, ProbeReply, ProbeRequest};
use lb_server::{LoadRecorder, LoadReportLayer, OpenRcaService};
use lb_testkit::pb::EchoRequest;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::server::ServerStreamingService;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use crate::support::{Running, soon, until};

async fn plain() -> Running {
    let load = LoadRecorder::new();
    Running::start(load.clone(), LoadReportLayer::new(load), Ok).await
}

async fn out_of_band(server: &Running, every: Duration) -> Streaming<OrcaLoadReport> {
    let mut grpc = Grpc::new(server.channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<OrcaLoadReportRequest, OrcaLoadReport>::default();
    let request = Request::new(OrcaLoadReportRequest::every(every));
    grpc.server_streaming(request, PathAndQuery::from_static(OUT_OF_BAND), codec).await.unwrap().into_inner()
}

/// When the first three reports come, in simulated time.
async fn times(service: &mut OpenRcaService, asked: Duration) -> [Duration; 3] {
    let begun = Instant::now();
    let request = Request::new(OrcaLoadReportRequest::every(asked));
    let mut reports = ServerStreamingService::call(service, request).await.unwrap().into_inner();
    let mut times = [Duration::ZERO; 3];
    for time in &mut times {
        reports.next().await.unwrap().unwrap();
        *time = begun.elapsed();
    }
    times
}

#[tokio::test(start_paused = true)]
async fn the_first_report_is_sent_at_once_and_short_intervals_are_raised() {
    let secs = |seconds: [u64; 3]| seconds.map(Duration::from_secs);
    let mut service = OpenRcaService::new(LoadRecorder::new());
    for asked in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(30)] {
        assert_eq!(times(&mut service, asked).await, secs([0, 30, 60]), "{asked:?}");
    }
    assert_eq!(times(&mut service, Duration::from_secs(40)).await, secs([0, 40, 80]));
    assert_eq!(times(&mut service, Duration::MAX).await, secs([0, 86_400, 172_800]), "no overflow");
    let mut service = service.with_min_interval(Duration::from_secs(2)).unwrap();
    assert_eq!(times(&mut service, Duration::from_secs(1)).await, secs([0, 2, 4]));
    for bad in [Duration::ZERO, Duration::MAX] {
        assert_eq!(service.clone().with_min_interval(bad).unwrap_err().field, "min_interval");
    }
}

#[tokio::test]
async fn reports_are_the_full_state_and_the_stream_is_no_call_in_flight() {
    let server = plain().await;
    server.load.set_application_utilization(0.5).unwrap();
    let mut reports = out_of_band(&server, Duration::from_millis(1)).await;
    for _ in 0..3 {
        let report = LoadReport::from(&soon("a report", reports.message()).await.unwrap().unwrap());
        assert_eq!((report.application_utilization, report.in_flight), (0.5, Some(0)));
    }
    server.load.set_application_utilization(0.75).unwrap();
    soon("the new value", async { while reports.message().await.unwrap().unwrap().application_utilization != 0.75 {} }).await;
}

#[tokio::test]
async fn a_probe_is_answered_at_once_with_its_own_number() {
    let server = plain().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let requests = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let mut grpc = Grpc::new(server.channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<ProbeRequest, ProbeReply>::default();
    let opened = grpc.streaming(Request::new(requests), PathAndQuery::from_static(PROBES), codec).await.unwrap();
    let mut replies = opened.into_inner();
    let mut ask = async |id| {
        sender.send(ProbeRequest { id }).await.unwrap();
        soon("an answer", replies.message()).await.unwrap().unwrap()
    };
    assert_eq!(ask(7).await, ProbeReply { id: 7, in_flight: 0, latency_nanos: 0 });
    server.report(EchoRequest { delay_ms: 2, ..EchoRequest::default() }).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.unary(EchoRequest { delay_ms: 60_000, ..EchoRequest::default() }).await });
    until("it is in flight", || server.load.in_flight() == 1).await;
    let reply = ask(u64::MAX).await;
    assert_eq!((reply.id, reply.in_flight), (u64::MAX, 1));
    assert!(reply.latency_nanos >= 2_000_000, "of the call that has ended: {reply:?}");
    call.abort();
}

#[tokio::test]
async fn other_methods_are_unimplemented() {
    let server = plain().await;
    for path in ["/xds.service.orca.v3.OpenRcaService/Other", "/evenkeel.probe.v1.Probe/Other"] {
        let mut grpc = Grpc::new(server.channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<ProbeRequest, ProbeReply>::default();
        let status = grpc.unary(Request::new(ProbeRequest::default()), PathAndQuery::from_static(path), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
}
