//! gRPC's own client of channelz, in Python, looks at our channels.

use std::process::Stdio;
use std::time::Duration;

use lb_testkit::{EchoServer, services};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/channelz/peer.py");

/// What the script prints when it looks at `address`.
async fn look(root: &std::path::Path, address: &str) -> Value {
    let mut python = Command::new(root.join("python"));
    let running = python.arg(SCRIPT).arg(address).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends within a minute").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn grpcio_lists_channels_subchannels_and_sockets() {
    let Some(root) = services::require("grpcio-channelz") else { return };
    let (s0, mut s1) = (EchoServer::start("s0").await.unwrap(), EchoServer::start("s1").await.unwrap());
    let (orders, users) = (channel(&[&s0, &s1]), channel(&[&s0]));
    let mut looking = Looking::new().await;
    looking.channelz.watch(&orders);
    looking.channelz.watch(&users);
    for shown in [&orders, &users] {
        shown.exit_idle();
        let ready = || shown.subchannels().iter().all(|subchannel| !subchannel.sockets().is_empty());
        eventually("all are connected", || !shown.subchannels().is_empty() && ready()).await;
    }
    for _ in 0..4 {
        call(&orders).await;
    }
    let seen = look(&root, &looking.address).await;
    assert_eq!(seen["pages"], 2);
    assert_eq!(seen["servers"], json!({"count": 0, "end": true}));
    let not_found = ["GetChannel", "GetSubchannel", "GetSocket", "GetServer", "GetServerSockets"];
    for method in not_found {
        assert_eq!(seen["missing"][method], "NOT_FOUND", "{method}");
    }
    assert_eq!(seen["missing"]["GetTopChannels"], "INVALID_ARGUMENT");

    let channel = &seen["channels"][0]["data"];
    assert_eq!((channel["target"].as_str(), channel["state"]["state"].as_str()), (Some(orders.target()), Some("READY")));
    // The definition's way to write 64 bits.
    assert_eq!((&channel["calls_started"], &channel["calls_succeeded"]), (&json!("4"), &json!("4")));
    assert_eq!(channel["trace"]["events"][0]["description"], "channel created");
    assert_eq!(channel["trace"]["events"][0]["severity"], "CT_INFO");
    assert_eq!(seen["channels"][0]["subchannel_ref"].as_array().unwrap().len(), 2);
    let names: Vec<&Value> = seen["subchannels"].as_array().unwrap().iter().map(|child| &child["ref"]["name"]).collect();
    assert_eq!(names, [&json!(s0.addr().to_string()), &json!(s1.addr().to_string()), &json!(s0.addr().to_string())]);
    assert!(seen["subchannels"].as_array().unwrap().iter().all(|child| child["data"]["state"]["state"] == "READY"));

    let sockets = seen["sockets"].as_array().unwrap();
    assert_eq!(sockets.len(), 3);
    assert_eq!(sockets[0]["remote"]["tcpip_address"], json!({"ip_address": "fwAAAQ==", "port": s0.addr().port()}));
    let streams = |socket: &Value| socket["data"]["streams_succeeded"].as_str().map_or(0, |count| count.parse::<u32>().unwrap());
    assert_eq!(streams(&sockets[0]) + streams(&sockets[1]), 4);
    assert!(sockets[0]["data"]["remote_flow_control_window"].as_str().is_some());
    assert!(sockets[0]["data"]["last_local_stream_created_timestamp"].as_str().is_some());

    // And what a lost server and a dropped channel leave.
    s1.kill().await;
    looking.until("it has failed", |subchannel| subchannel.data.as_ref().unwrap().state.unwrap().state == 4).await;
    drop(users);
    let seen = look(&root, &looking.address).await;
    assert_eq!((seen["pages"].as_u64(), seen["sockets"].as_array().unwrap().len()), (Some(1), 1));
    assert_eq!(seen["subchannels"][1]["data"]["state"]["state"], "TRANSIENT_FAILURE");
}
