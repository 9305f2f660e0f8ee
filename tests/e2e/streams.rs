//! All four kinds of call: counted to their end, of any size, ended by either side.

use std::time::Duration;

use evenkeel::{CallError, LbChannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, RawServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use crate::support::{call_error, in_flight, ready, request, soon, target, until};

const MIB: usize = 1024 * 1024;

async fn one() -> (EchoServer, LbChannel, EchoClient<LbChannel>) {
    let server = EchoServer::start("s").await.unwrap();
    let channel = LbChannel::builder(server.target()).build().unwrap();
    ready(&channel, 1).await;
    (server, channel.clone(), EchoClient::new(channel))
}

fn requests() -> (mpsc::UnboundedSender<EchoRequest>, UnboundedReceiverStream<EchoRequest>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// What the channel counted: in flight, succeeded, failed.
fn counted(channel: &LbChannel) -> (u32, u64, u64) {
    let endpoint = &channel.endpoints()[0];
    (endpoint.in_flight, endpoint.succeeded, endpoint.failed)
}

#[tokio::test]
async fn unary_is_in_flight_until_its_trailers() {
    let (_server, channel, mut client) = one().await;
    let asked = EchoRequest { delay_ms: 50, ..request("x") };
    let calling = tokio::spawn(async move { client.unary(asked).await });
    until("it is in flight", || in_flight(&channel) == 1).await;
    soon("the answer", calling).await.unwrap().unwrap();
    assert_eq!(counted(&channel), (0, 1, 0));
}

#[tokio::test]
async fn a_server_stream_is_in_flight_until_its_trailers_or_its_drop() {
    let (server, channel, mut client) = one().await;
    let mut stream = client.server_stream(EchoRequest { count: 5, ..request("x") }).await.unwrap().into_inner();
    for received in 1..=5 {
        assert_eq!(in_flight(&channel), 1);
        assert_eq!(soon("a message", stream.message()).await.unwrap().unwrap().received, received);
    }
    assert!(soon("the end", stream.message()).await.unwrap().is_none());
    assert_eq!(counted(&channel), (0, 1, 0));
    drop(stream);

    let mut stream = client.server_stream(EchoRequest { count: u32::MAX, delay_ms: 1, ..request("x") }).await.unwrap().into_inner();
    soon("a message", stream.message()).await.unwrap().unwrap();
    assert_eq!((in_flight(&channel), server.active()), (1, 1));
    drop(stream);
    assert_eq!(counted(&channel), (0, 1, 0), "a call that is given up is neither");
    until("the server has heard of it", || server.active() == 0).await;
}

#[tokio::test]
async fn a_client_stream_is_in_flight_from_its_first_byte() {
    let (server, channel, mut client) = one().await;
    let (sender, messages) = requests();
    let calling = tokio::spawn({
        let mut client = client.clone();
        async move { client.client_stream(messages).await }
    });
    // Before any message: a stream's headers go out at once.
    until("the server has the call", || server.active() == 1).await;
    assert_eq!(in_flight(&channel), 1);
    for _ in 0..10 {
        sender.send(request("m")).unwrap();
    }
    drop(sender);
    assert_eq!(soon("the answer", calling).await.unwrap().unwrap().into_inner().received, 10);
    assert_eq!(counted(&channel), (0, 1, 0));

    let (sender, messages) = requests();
    let calling = tokio::spawn(async move { client.client_stream(messages).await });
    sender.send(request("m")).unwrap();
    until("the server has the call", || server.active() == 1).await;
    calling.abort();
    until("the call is off the books and the server has heard of it", || in_flight(&channel) + server.active() as u32 == 0).await;
}

#[tokio::test]
async fn a_bidirectional_stream_is_in_flight_until_both_have_ended() {
    let (server, channel, mut client) = one().await;
    let (sender, messages) = requests();
    let mut replies = soon("the headers", client.bidi(messages)).await.unwrap().into_inner();
    for received in 1..=20 {
        sender.send(request("ping")).unwrap();
        let reply = soon("the reply", replies.message()).await.unwrap().unwrap();
        assert_eq!((reply.received, &*reply.payload, in_flight(&channel)), (received, &b"ping"[..], 1));
    }
    drop(sender);
    assert!(soon("the end", replies.message()).await.unwrap().is_none());
    assert_eq!(counted(&channel), (0, 1, 0));

    let (sender, messages) = requests();
    let mut replies = soon("the headers", client.bidi(messages)).await.unwrap().into_inner();
    sender.send(request("ping")).unwrap();
    soon("the reply", replies.message()).await.unwrap().unwrap();
    drop(replies);
    assert_eq!(in_flight(&channel), 0);
    until("the server has heard of it", || server.active() == 0).await;
    until("the stream of requests is let go", || sender.is_closed()).await;
}

#[tokio::test]
async fn a_server_that_ends_early_ends_the_call_with_its_status() {
    let (server, channel, mut client) = one().await;
    let (sender, messages) = requests();
    let mut replies = soon("the headers", client.bidi(messages)).await.unwrap().into_inner();
    sender.send(request("ping")).unwrap();
    soon("the reply", replies.message()).await.unwrap().unwrap();
    sender.send(EchoRequest { fail_with: Code::FailedPrecondition as u32, ..request("x") }).unwrap();
    let status = soon("the status", replies.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!((counted(&channel), server.active()), ((0, 0, 1), 0));
    until("the stream of requests is let go", || sender.is_closed()).await;

    // With trailers only, before anything was read.
    server.fail_next(1, Code::ResourceExhausted);
    let (sender, messages) = requests();
    let status = soon("the status", client.client_stream(messages)).await.unwrap_err();
    assert_eq!((status.code(), counted(&channel)), (Code::ResourceExhausted, (0, 0, 2)));
    until("the stream of requests is let go", || sender.is_closed()).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_an_answer() {
    let server = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            if let lb_testkit::Heard::Headers { stream, .. } = conn.heard().await? {
                conn.reply(stream, b"").await?;
            }
        }
    })
    .await
    .unwrap();
    let channel = LbChannel::builder(target([server.addr()])).build().unwrap();
    ready(&channel, 1).await;
    for _ in 0..5 {
        let (sender, messages) = requests();
        soon("the answer", EchoClient::new(channel.clone()).client_stream(messages)).await.unwrap();
        until("the stream of requests is let go", || sender.is_closed()).await;
    }
    assert_eq!(counted(&channel), (0, 5, 0));
}

#[tokio::test]
async fn big_messages_pass_both_ways() {
    let (_server, channel, client) = one().await;
    let mut client = client.max_decoding_message_size(64 * MIB).max_encoding_message_size(64 * MIB);
    let payload: Vec<u8> = (0..16 * MIB).map(|at| (at / 7) as u8).collect();
    let asked = EchoRequest { payload: payload.clone().into(), count: 3, ..EchoRequest::default() };
    let reply = soon("16 MiB there and back", client.unary(asked.clone())).await.unwrap().into_inner();
    assert!(reply.payload == payload);
    let mut stream = soon("the headers", client.server_stream(asked)).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(soon("16 MiB", stream.message()).await.unwrap().unwrap().payload.len(), payload.len());
    }
    let (sender, messages) = requests();
    let mut replies = soon("the headers", client.bidi(messages)).await.unwrap().into_inner();
    for size in [0, 1, 16 * 1024, MIB, 5 * MIB, 3] {
        sender.send(EchoRequest { payload: payload[..size].to_vec().into(), ..EchoRequest::default() }).unwrap();
        assert!(soon("the reply", replies.message()).await.unwrap().unwrap().payload == payload[..size]);
    }
    drop((stream, replies));
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_and_say_so() {
    let server = EchoServer::start("s").await.unwrap();
    let limit = 1000;
    let builder = LbChannel::builder(server.target()).max_request_message(limit).max_response_message(limit);
    let channel = builder.build().unwrap();
    ready(&channel, 1).await;
    let mut client = EchoClient::new(channel.clone());
    let sized = |size: usize| EchoRequest { payload: vec![7; size].into(), count: 3, ..EchoRequest::default() };
    client.unary(sized(900)).await.unwrap();
    let calls = server.calls();
    let too_large = |status: &tonic::Status, which: &str| {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(
            matches!(call_error(status), Some(CallError::MessageTooLarge { direction, .. }) if *direction == which),
            "{status:?}"
        );
    };
    let status = client.unary(sized(1001)).await.unwrap_err();
    too_large(&status, "request");
    assert_eq!(server.calls(), calls, "it was never sent");
    // In the middle of a stream.
    let (sender, messages) = requests();
    sender.send(sized(900)).unwrap();
    let calling = tokio::spawn({
        let mut client = client.clone();
        async move { client.client_stream(messages).await }
    });
    until("the server has the call", || server.calls() > calls).await;
    sender.send(sized(5000)).unwrap();
    let status = soon("the refusal", calling).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("5005") && status.message().contains("1000"), "{status}");
    // The reply is larger than the request by the name of the server and its counters.
    let failed = channel.endpoints()[0].failed;
    let status = client.unary(sized(995)).await.unwrap_err();
    too_large(&status, "response");
    assert_eq!(channel.endpoints()[0].failed, failed + 1, "it counts as failed, not as given up by the caller");
    until("nothing is in flight", || in_flight(&channel) == 0 && server.active() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_reads_stops_the_server_and_not_the_others() {
    let (server, channel, mut client) = one().await;
    let asked = EchoRequest { payload: vec![7; MIB / 2].into(), count: 1000, ..EchoRequest::default() };
    let stuck = soon("the headers", client.server_stream(asked)).await.unwrap().into_inner();
    for _ in 0..100 {
        soon("a call beside it", client.unary(request("x"))).await.unwrap();
    }
    assert_eq!((in_flight(&channel), server.active()), (1, 1));
    drop(stuck);
    until("it is off the books", || in_flight(&channel) as usize + server.active() == 0).await;
    tokio::time::timeout(Duration::from_secs(20), client.unary(request("x"))).await.unwrap().unwrap();
}
