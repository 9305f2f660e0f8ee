//! Calls of all kinds, their flow control and their failures.

use std::future::poll_fn;

use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, HeaderValue, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use lb_transport::{Payload, TransportConfig, TransportErrorKind};

use crate::support::*;

#[tokio::test]
async fn unary_calls_of_all_sizes_come_back_whole() {
    let address = serve(Builder::new(), echo).await;
    let connection = connect(address).await;
    for size in [0_usize, 1, 100, 255, 256, 8_191, 8_192, 16_384, 20_000, 65_536, 3_000_000] {
        let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let (reply, trailers) = within(call(&connection.transport, Pieces::one(data.clone()))).await.unwrap();
        assert!(reply == data, "{size} bytes");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(connection.transport.in_flight(), 0);
    }
    let (reply, _) = within(call(&connection.transport, Empty::new())).await.unwrap();
    assert!(reply.is_empty());
}

/// With windows for all of it, so that the socket is the limit, and more writes than a task may make in one turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_of_many_calls_share_a_connection() {
    let mut builder = Builder::new();
    builder.initial_window_size(8_000_000).initial_connection_window_size(100_000_000);
    let address = serve(builder, echo).await;
    let connection = connect(address).await;
    let calls = (0..16_u8).map(|seed| {
        let transport = connection.transport.clone();
        tokio::spawn(async move {
            let data = vec![seed; 4_000_000];
            let (reply, _) = call(&transport, Pieces::one(data.clone())).await.unwrap();
            assert!(reply == data);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        within(call).await.unwrap();
    }
    assert_eq!(connection.transport.in_flight(), 0);
}

#[tokio::test]
async fn a_unary_call_is_one_data_frame_with_the_end() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let calling = tokio::spawn(async move { call(&connection.transport, Pieces::one("hello")).await });
    let (_, flags, stream, _) = raw.next(HEADERS).await;
    assert_eq!(flags & 1, 0);
    let data = within(raw.frame()).await.unwrap();
    assert_eq!(data, (DATA, 1, stream, b"hello".to_vec()));
    raw.respond(stream).await;
    assert_eq!(calling.await.unwrap().unwrap().0, b"reply");
}

#[tokio::test]
async fn requests_carry_origin_and_user_agent() {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let address = serve(Builder::new(), move |request, respond| {
        let _ = sender.send((request.uri().clone(), request.headers().clone()));
        echo(request, respond)
    })
    .await;
    let connection = connect(address).await;
    call(&connection.transport, Pieces::one("x")).await.unwrap();
    let (uri, headers) = seen.recv().await.unwrap();
    assert_eq!(uri, "http://orders.test/test.Echo/Call");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("evenkeel/"));
    assert_eq!(headers["te"], "trailers");
    let mut request = post(Pieces::one("x"));
    request.headers_mut().insert("user-agent", "mine/1".parse().unwrap());
    connection.transport.send(request).await.unwrap();
    assert!(seen.recv().await.unwrap().1["user-agent"].to_str().unwrap().starts_with("mine/1 evenkeel/"));
}

#[tokio::test]
async fn a_started_call_is_sent_with_its_headers_and_read_where_it_stands_though_it_has_to_wait() {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let address = serve(Builder::new().max_concurrent_streams(1).clone(), move |request, respond| {
        let _ = sender.send((request.uri().clone(), request.headers().clone()));
        echo(request, respond)
    })
    .await;
    let connection = connect(address).await;
    let started = async |payload| {
        let (uri, mut payload, mut started, mut head) = (Uri::from_static("/test.Echo/Call"), Some(payload), None, None);
        let mut headers = HeaderMap::from_iter([(http::header::TE, HeaderValue::from_static("trailers"))]);
        let answered = poll_fn(|cx| {
            if let Some(payload) = payload.take() {
                started = Some(connection.transport.start(cx, &uri, &mut headers, payload));
            }
            started.as_mut().unwrap().poll_head(cx, &mut head)
        });
        answered.await.unwrap();
        let mut started = started.unwrap();
        assert_eq!((headers.len(), head.unwrap().status), (0, http::StatusCode::OK));
        let reply = started.body_mut().unwrap().collect().await.unwrap();
        assert_eq!(reply.trailers().unwrap()["grpc-status"], "0");
        assert!(started.body().unwrap().is_end_stream() && started.take_body().is_some() && started.take_body().is_none());
        reply.to_bytes()
    };
    let (whole, body) = (Payload::Whole("whole".into()), Payload::Body(Pieces::one("body")));
    let both = within(futures_util::future::join(started(whole), started(body))).await;
    assert_eq!(both, (Bytes::from("whole"), Bytes::from("body")));
    for _ in 0..2 {
        let (uri, headers) = seen.recv().await.unwrap();
        assert_eq!(uri, "http://orders.test/test.Echo/Call");
        assert_eq!(headers["te"], "trailers");
        let agents: Vec<_> = headers.get_all("user-agent").iter().map(|agent| agent.to_str().unwrap()).collect();
        assert!(matches!(agents[..], [agent] if agent.starts_with("evenkeel/") && !agent.contains(' ')), "{agents:?}");
    }
}

#[tokio::test]
async fn headers_go_out_before_a_body_that_is_not_ready() {
    let address = serve(Builder::new(), echo).await;
    let connection = connect(address).await;
    let (feed, body) = Fed::new();
    // The echo server answers with headers before it has any message.
    let response = within(connection.transport.send(post(body))).await.unwrap();
    let mut reply = response.into_body();
    for message in ["one", "two", "three"] {
        feed.send(Ok(message.into())).unwrap();
        let frame = within(reply.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    drop(feed);
    let (rest, trailers) = within(finish(reply)).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(connection.transport.in_flight(), 0);
}

#[tokio::test]
async fn streams_pass_through_small_windows() {
    let mut builder = Builder::new();
    builder.initial_window_size(1_000).initial_connection_window_size(70_000);
    let address = serve(builder, echo).await;
    let config = TransportConfig::new().initial_stream_window(65_535).initial_connection_window(65_535);
    let connection = connect_with(config, address).await.unwrap();
    let calls = (0..8_u8).map(|seed| {
        let pieces: Vec<Bytes> = (0..60).map(|i: usize| vec![seed ^ i as u8; i * 100].into()).collect();
        let transport = connection.transport.clone();
        tokio::spawn(async move {
            let expected = pieces.concat();
            let (reply, _) = call(&transport, Pieces::many(pieces)).await.unwrap();
            assert!(reply == expected);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        within(call).await.unwrap();
    }
    assert_eq!(connection.transport.in_flight(), 0);
}

async fn large_reply(config: TransportConfig) {
    const SIZE: usize = 12_000_000;
    let address = serve(Builder::new(), |_, mut respond| async move {
        let mut response = respond.send_response(http::Response::new(()), false).unwrap();
        send_all(&mut response, vec![7; SIZE].into()).await.unwrap();
        response.send_trailers(ok()).unwrap();
    })
    .await;
    let connection = connect_with(config, address).await.unwrap();
    let (reply, _) = within(call(&connection.transport, Pieces::one("x"))).await.unwrap();
    assert_eq!(reply.len(), SIZE);
}

#[tokio::test]
async fn a_reply_larger_than_the_windows_arrives() {
    large_reply(TransportConfig::new().initial_stream_window(65_535).initial_connection_window(65_535)).await;
}

#[tokio::test]
async fn a_reply_arrives_through_adaptive_windows() {
    large_reply(TransportConfig::new().adaptive_window(true)).await;
}

#[tokio::test]
async fn many_readers_that_pause_do_not_starve_the_connection() {
    // Each reader takes one small message and then waits for the next: what they took must not count against the window.
    let address = serve(Builder::new(), |request, mut respond| async move {
        let mut response = respond.send_response(http::Response::new(()), false).unwrap();
        send_all(&mut response, vec![1; 4_000].into()).await.unwrap();
        let _ = request.into_body().data().await;
        send_all(&mut response, vec![2; 4_000].into()).await.unwrap();
        let _ = response.send_trailers(ok());
    })
    .await;
    let config = TransportConfig::new().initial_stream_window(65_535).initial_connection_window(65_535);
    let connection = connect_with(config, address).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..50 {
        let (feed, body) = Fed::new();
        let mut reply = within(connection.transport.send(post(body))).await.unwrap().into_body();
        let mut got = 0;
        while got < 4_000 {
            got += within(reply.frame()).await.unwrap().unwrap().into_data().unwrap().len();
        }
        open.push((feed, reply));
    }
    for (feed, reply) in open {
        drop(feed);
        assert_eq!(within(finish(reply)).await.unwrap().0.len(), 4_000);
    }
}

#[tokio::test]
async fn an_early_answer_stops_the_request_body() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let (feed, body) = Fed::new();
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, body).await }
    });
    let stream = raw.request().await;
    raw.headers(stream).await;
    raw.trailers(stream).await;
    assert_eq!(within(calling).await.unwrap().unwrap().1["grpc-status"], "0");
    assert_eq!(connection.transport.in_flight(), 0);
    assert_eq!(raw.next(RST_STREAM).await.3, 8_u32.to_be_bytes());
    eventually("the body is dropped", || feed.is_closed()).await;
}

#[tokio::test]
async fn a_failing_request_body_is_the_calls_error_and_cancels_the_stream() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let (feed, body) = Fed::new();
    feed.send(Err("broken before".into())).unwrap();
    let error = within(connection.transport.send(post(body))).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Body);
    assert_eq!(error.into_source().unwrap().to_string(), "broken before");

    let (feed, body) = Fed::new();
    feed.send(Ok("first".into())).unwrap();
    let calling = tokio::spawn({
        let transport = connection.transport.clone();
        async move { call(&transport, body).await }
    });
    let stream = raw.request().await;
    assert_eq!(raw.next(DATA).await.3, b"first");
    feed.send(Err("broken within".into())).unwrap();
    let error = within(calling).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (TransportErrorKind::Body, "request body failed: broken within"));
    assert_eq!(raw.next(RST_STREAM).await.2, stream);
    assert_eq!(connection.transport.in_flight(), 0);
}

#[tokio::test]
async fn a_request_no_connection_can_send_is_invalid() {
    let (_raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    let mut request = post(Pieces::one("x"));
    request.headers_mut().insert("connection", "close".parse().unwrap());
    let error = within(connection.transport.send(request)).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Invalid);
    assert_eq!(connection.transport.in_flight(), 0);
}

#[tokio::test]
async fn resets_are_told_apart() {
    let (mut raw, connection) = Raw::pair(TransportConfig::new(), &[]).await;
    for (code, kind, status) in [
        (7, TransportErrorKind::Refused, 14),
        (8, TransportErrorKind::Reset(8), 1),
        (2, TransportErrorKind::Reset(2), 13),
        (11, TransportErrorKind::Reset(11), 8),
        (12, TransportErrorKind::Reset(12), 7),
    ] {
        let answering = async {
            let stream = raw.request().await;
            raw.reset(stream, code).await;
        };
        let (error, ()) = tokio::join!(within(call(&connection.transport, Pieces::one("x"))), answering);
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.grpc_code()), (kind, status), "{error}");
    }
    // After response headers a refusal promises nothing.
    let answering = async {
        let stream = raw.request().await;
        raw.headers(stream).await;
        raw.reset(stream, 7).await;
    };
    let calling = async {
        let response = connection.transport.send(post(Pieces::one("x"))).await?;
        finish(response.into_body()).await
    };
    let (error, ()) = tokio::join!(within(calling), answering);
    let kind = error.unwrap_err().kind();
    assert!(kind == TransportErrorKind::Reset(7), "{kind:?}");
    assert_eq!(connection.transport.in_flight(), 0);
}
