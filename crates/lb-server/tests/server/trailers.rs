//! Reports that come with calls, and what is measured.

use std::num::NonZeroU32;
use std::time::Duration;

use lb_server::{CallRecorder, LoadRecorder, LoadReportLayer, Trailers};
use lb_testkit::pb::EchoRequest;
use tonic::{Code, Request};

use crate::support::{Running, report, soon, until};

async fn reporting_always() -> Running {
    let load = LoadRecorder::new();
    Running::start(load.clone(), LoadReportLayer::new(load).trailers(Trailers::on_every_call()), Ok).await
}

#[tokio::test]
async fn a_unary_call_a_stream_and_a_failure_carry_the_report() {
    let server = reporting_always().await;
    server.load.set_cpu_utilization(0.5).unwrap();
    server.load.set_named_metric("queue", 3.0).unwrap();

    let unary = server.report(EchoRequest { delay_ms: 5, ..EchoRequest::default() }).await.unwrap();
    assert_eq!((unary.cpu_utilization, unary.in_flight), (0.5, Some(0)), "the call itself has ended");
    assert_eq!(unary.named_metrics, [("queue".into(), 3.0)].into());
    assert!(unary.latency.unwrap() >= Duration::from_millis(5), "{unary:?}");

    let failed = server.report(EchoRequest { fail_with: Code::NotFound as u32, ..EchoRequest::default() }).await.unwrap();
    assert_eq!(failed.cpu_utilization, 0.5, "a response without messages");

    let mut replies = server.client().server_stream(EchoRequest { count: 3, ..EchoRequest::default() }).await.unwrap().into_inner();
    while let Some(_reply) = soon("a reply", replies.message()).await.unwrap() {}
    let trailers = replies.trailers().await.unwrap().unwrap();
    assert_eq!(report(&trailers).unwrap().cpu_utilization, 0.5);
    until("the stream is counted out", || server.load.in_flight() == 0).await;
}

#[tokio::test]
async fn a_stream_is_in_flight_until_its_end() {
    let server = reporting_always().await;
    let endless = EchoRequest { count: u32::MAX, delay_ms: 1, ..EchoRequest::default() };
    let mut replies = server.client().server_stream(endless).await.unwrap().into_inner();
    for _ in 0..3 {
        soon("a reply", replies.message()).await.unwrap();
        assert_eq!(server.load.in_flight(), 1);
    }
    drop(replies);
    until("the stream is counted out", || server.load.in_flight() == 0).await;
}

#[tokio::test]
async fn the_default_is_one_in_eight_of_the_short_and_all_of_the_long() {
    let load = LoadRecorder::new();
    let layer = LoadReportLayer::new(load.clone()).trailers(Trailers::default().and_on_calls_from(Duration::from_secs(1)));
    let server = Running::start(load.clone(), layer, Ok).await;
    let mut reports = 0;
    for _ in 0..24 {
        reports += u32::from(server.report(EchoRequest::default()).await.is_some());
    }
    assert_eq!(reports, 3);

    let rare = Trailers::on_one_in(NonZeroU32::MAX).and_on_calls_from(Duration::from_millis(5));
    let server = Running::start(load.clone(), LoadReportLayer::new(load).trailers(rare), Ok).await;
    server.report(EchoRequest::default()).await;
    assert!(server.report(EchoRequest { delay_ms: 5, ..EchoRequest::default() }).await.is_some());
}

#[tokio::test]
async fn what_a_call_records_wins_and_is_always_sent() {
    let load = LoadRecorder::new();
    load.set_cpu_utilization(0.25).unwrap();
    load.set_mem_utilization(0.5).unwrap();
    let layer = LoadReportLayer::new(load.clone()).trailers(Trailers::never());
    let touch = |request: Request<()>| {
        let call = request.extensions().get::<CallRecorder>().expect("the layer puts it there");
        call.set_cpu_utilization(0.75).unwrap();
        call.set_request_cost("rows", 7.0).unwrap();
        Ok(request)
    };
    let server = Running::start(load.clone(), layer.clone(), touch).await;
    let report = server.report(EchoRequest::default()).await.expect("recorded, so sent");
    assert_eq!((report.cpu_utilization, report.mem_utilization), (0.75, 0.5));

    let untouched = Running::start(load.clone(), layer.clone(), Ok).await;
    assert_eq!(untouched.report(EchoRequest::default()).await, None);
    let without = layer.without_call_recorders();
    let no_recorder = |request: Request<()>| {
        assert!(request.extensions().get::<CallRecorder>().is_none());
        Ok(request)
    };
    let without = Running::start(load, without, no_recorder).await;
    assert_eq!(without.report(EchoRequest::default()).await, None);
}

#[tokio::test]
async fn calls_in_flight_are_exact_whatever_becomes_of_them() {
    let server = reporting_always().await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let mut client = server.client();
        let request = EchoRequest { delay_ms: 60_000, ..EchoRequest::default() };
        calls.push(tokio::spawn(async move { client.unary(request).await }));
    }
    until("all are in flight", || server.load.in_flight() == 10).await;
    let report = server.report(EchoRequest::default()).await.unwrap();
    assert_eq!(report.in_flight, Some(10), "the others");
    calls.iter().for_each(|call| call.abort());
    until("cancelled calls are counted out", || server.load.in_flight() == 0).await;
}

#[tokio::test]
async fn ignored_paths_neither_count_nor_report() {
    let load = LoadRecorder::new();
    let layer =
        LoadReportLayer::new(load.clone()).trailers(Trailers::on_every_call()).ignore("/evenkeel.echo.v1.Echo/ServerStream");
    let server = Running::start(load, layer, Ok).await;
    let mut replies = server.client().server_stream(EchoRequest { count: 2, ..EchoRequest::default() }).await.unwrap().into_inner();
    while let Some(_reply) = soon("a reply", replies.message()).await.unwrap() {
        assert_eq!(server.load.in_flight(), 0);
    }
    assert_eq!(replies.trailers().await.unwrap().as_ref().and_then(report), None);
    assert!(server.report(EchoRequest::default()).await.is_some());
}

#[tokio::test]
async fn errors_and_calls_a_second_are_measured() {
    let server = reporting_always().await;
    for call in 0..40 {
        let fail_with = if call % 4 == 0 { Code::Internal as u32 } else { 0 };
        server.report(EchoRequest { fail_with, ..EchoRequest::default() }).await;
    }
    until("a second has passed", || server.load.report().qps > 0.0).await;
    let report = server.load.report();
    let share = report.eps / report.qps;
    assert!((share - 0.25).abs() < 1e-9, "{report:?}");
}

#[test]
fn setters_refuse_what_is_out_of_range_and_clearing_unsays() {
    let load = LoadRecorder::new();
    for (result, field) in [
        (load.set_cpu_utilization(-1.0), "cpu_utilization"),
        (load.set_cpu_utilization(f64::NAN), "cpu_utilization"),
        (load.set_mem_utilization(1.1), "mem_utilization"),
        (load.set_mem_utilization(-0.1), "mem_utilization"),
        (load.set_application_utilization(f64::INFINITY), "application_utilization"),
        (load.set_utilization("disk", 1.1), "utilization"),
        (load.set_utilization("", 0.5), "utilization"),
        (load.set_named_metric("queue", f64::NAN), "named_metrics"),
        (load.set_named_metric(&"x".repeat(200), 1.0), "named_metrics"),
    ] {
        assert_eq!(result.unwrap_err().field, field);
    }
    let nothing = load.report();
    assert_eq!((nothing.cpu_utilization, nothing.mem_utilization), (0.0, 0.0), "a refused value changes nothing");
    load.set_cpu_utilization(1.5).unwrap();
    load.set_mem_utilization(1.0).unwrap();
    load.set_application_utilization(2.0).unwrap();
    load.set_utilization("disk", 0.5).unwrap();
    load.set_named_metric("queue", -3.0).unwrap();
    let all = load.report();
    assert_eq!((all.cpu_utilization, all.mem_utilization, all.application_utilization), (1.5, 1.0, 2.0));
    assert_eq!((all.utilization.len(), all.named_metrics.len()), (1, 1));
    load.clear_cpu_utilization();
    load.clear_mem_utilization();
    load.clear_application_utilization();
    load.clear_utilization("disk");
    load.clear_named_metric("queue");
    assert_eq!(load.report(), nothing);
    for name in 0..64 {
        load.set_named_metric(&name.to_string(), 1.0).unwrap();
    }
    assert!(load.set_named_metric("one more", 1.0).is_err());
    load.set_named_metric("5", 2.0).unwrap();
}
