//! Subchannels and sockets: their counters, addresses and protection, and what a lost connection leaves.

use std::time::{Duration, SystemTime};

use lb_testkit::EchoServer;
use lb_testkit::channelz::address::Address;
use lb_testkit::channelz::channel_connectivity_state::State;
use lb_testkit::channelz::security::Model;
use lb_testkit::channelz::security::tls::CipherSuite;
use lb_testkit::channelz::{ChannelData, Subchannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use lb_transport::ClientTls;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tonic::Code;
use tonic::transport::{Identity, ServerTlsConfig};

use crate::support::*;

fn data(subchannel: &Subchannel) -> &ChannelData {
    subchannel.data.as_ref().unwrap()
}

fn state(subchannel: &Subchannel) -> State {
    data(subchannel).state.unwrap().state()
}

fn calls(data: &ChannelData) -> [i64; 3] {
    [data.calls_started, data.calls_succeeded, data.calls_failed]
}

/// Between then and now, by a clock that is read twice.
fn is_recent(at: Option<&prost_types::Timestamp>, since: SystemTime) -> bool {
    let slack = Duration::from_millis(50);
    at.is_some_and(|at| {
        let at = SystemTime::try_from(*at).unwrap();
        since - slack <= at && at <= SystemTime::now() + slack
    })
}

#[tokio::test]
async fn calls_are_counted_where_they_go() {
    let since = SystemTime::now();
    let server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    for _ in 0..5 {
        call(&shown).await;
    }
    let failing = EchoRequest { fail_with: Code::NotFound as u32, ..EchoRequest::default() };
    EchoClient::new(shown.clone()).unary(failing).await.unwrap_err();

    // Given up before it is answered.
    let mut slow = EchoClient::new(shown.clone());
    let slow = slow.unary(EchoRequest { delay_ms: 60_000, ..EchoRequest::default() });
    tokio::time::timeout(Duration::from_millis(20), slow).await.unwrap_err();

    let listed = looking.channels().await.remove(0);
    assert_eq!(calls(listed.data.as_ref().unwrap()), [7, 5, 2]);
    assert!(is_recent(listed.data.as_ref().unwrap().last_call_started_timestamp.as_ref(), since));
    let subchannel = looking.subchannel(listed.subchannel_ref[0].subchannel_id).await.unwrap();
    assert_eq!((state(&subchannel), calls(data(&subchannel))), (State::Ready, [7, 5, 2]));
    assert!(is_recent(data(&subchannel).last_call_started_timestamp.as_ref(), since));
    assert!(subchannel.channel_ref.is_empty() && subchannel.subchannel_ref.is_empty());

    let socket = looking.socket(subchannel.socket_ref[0].socket_id).await.unwrap();
    let counted = socket.data.unwrap();
    // All but the last stream have their end from the server; one answer is a status alone.
    assert_eq!((counted.streams_started, counted.streams_succeeded, counted.streams_failed), (7, 6, 1));
    assert_eq!((counted.messages_sent, counted.messages_received), (7, 5));
    assert!(is_recent(counted.last_local_stream_created_timestamp.as_ref(), since));
    assert!(is_recent(counted.last_message_sent_timestamp.as_ref(), since));
    assert!(is_recent(counted.last_message_received_timestamp.as_ref(), since));
    assert!(counted.last_remote_stream_created_timestamp.is_none());
    assert!(counted.local_flow_control_window.unwrap() > 0 && counted.remote_flow_control_window.unwrap() > 65_535);
    assert!(counted.option.iter().any(|option| option.name == "TCP_NODELAY" && option.value == "1"));
    let Some(Address::TcpipAddress(remote)) = socket.remote.unwrap().address else { panic!("not TCP") };
    assert_eq!((remote.ip_address, remote.port), (vec![127, 0, 0, 1], i32::from(server.addr().port())));
    let Some(Address::TcpipAddress(local)) = socket.local.unwrap().address else { panic!("not TCP") };
    assert_eq!(local.ip_address, [127, 0, 0, 1]);
    assert!(socket.security.is_none());
}

#[tokio::test]
async fn a_lost_connection_takes_its_socket_along_and_the_next_is_another() {
    let server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    let before = looking.until("it is connected", |subchannel| !subchannel.socket_ref.is_empty()).await;
    let lost = before.socket_ref[0].socket_id;
    server.cut_connections();
    let after = looking
        .until("it is connected anew", |subchannel| subchannel.socket_ref.first().is_some_and(|socket| socket.socket_id != lost))
        .await;
    assert_eq!(after.r#ref, before.r#ref, "the same subchannel");
    assert_eq!(looking.socket(lost).await.unwrap_err().code(), Code::NotFound);
    assert!(after.socket_ref[0].socket_id > lost, "numbers are not used again");
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_a_subchannel_in_failure_without_sockets() {
    let mut server = EchoServer::start("s0").await.unwrap();
    let shown = channel(&[&server]);
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    server.kill().await;
    let failed = looking.until("it has failed", |subchannel| state(subchannel) == State::TransientFailure).await;
    assert!(failed.socket_ref.is_empty());
    assert_eq!(calls(data(&failed)), [1, 1, 0], "what was counted stays");
}

#[tokio::test]
async fn unix_sockets_have_unix_addresses() {
    let dir = std::env::temp_dir().join(format!("channelz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("s0.sock");
    let server = EchoServer::builder().unix(&path).start().await.unwrap();
    let shown = LbChannel::builder(format!("unix:{}", path.display())).build().unwrap();
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    let subchannel = looking.until("it is connected", |subchannel| !subchannel.socket_ref.is_empty()).await;
    let socket = looking.socket(subchannel.socket_ref[0].socket_id).await.unwrap();
    let Some(Address::UdsAddress(remote)) = socket.remote.unwrap().address else { panic!("not a Unix socket") };
    assert_eq!(remote.filename, path.display().to_string());
    assert!(socket.local.is_none(), "a client's end has no name");
    drop(server);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn tls_sockets_name_their_cipher_and_the_servers_certificate() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["orders.test".to_owned()]).unwrap();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
    let server = EchoServer::builder().tls(ServerTlsConfig::new().identity(identity)).unwrap().start().await.unwrap();
    let builder = LbChannel::builder(format!("static:///{}", server.addr())).authority("orders.test");
    let shown = builder.tls(ClientTls::ca_certificate(cert.pem())).build().unwrap();
    let mut looking = Looking::new().await;
    looking.channelz.watch(&shown);
    call(&shown).await;
    let subchannel = looking.until("it is connected", |subchannel| !subchannel.socket_ref.is_empty()).await;
    let socket = looking.socket(subchannel.socket_ref[0].socket_id).await.unwrap();
    assert_eq!(socket.remote_name, "orders.test");
    let Some(Model::Tls(tls)) = socket.security.unwrap().model else { panic!("not TLS") };
    assert_eq!(tls.remote_certificate, cert.der().to_vec());
    assert!(matches!(&tls.cipher_suite, Some(CipherSuite::StandardName(name)) if name.starts_with("TLS_")), "{tls:?}");
}
