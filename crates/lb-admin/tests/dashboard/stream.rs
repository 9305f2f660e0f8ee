//! The stream of changes, over a socket.

use std::net::SocketAddr;
use std::time::Duration;

use lb_admin::AdminToken;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Ask, get};
use crate::support::{Live, OPERATOR, READER, idle, orders};

const STREAM: &str = "/api/v1/loadbalancer/stream";

/// Streams that a server gives at once.
const STREAMS: usize = 16;

/// One that reads a stream, in chunks as they come.
struct Reader {
    connection: TcpStream,
    text: String,
}

impl Reader {
    async fn open(addr: SocketAddr, ask: Ask) -> Self {
        let mut connection = TcpStream::connect(addr).await.unwrap();
        connection.write_all(ask.bytes(addr).as_bytes()).await.unwrap();
        Self { connection, text: String::new() }
    }

    /// Reads until the text has this, and gives what came until then and forgets it; `None` if the stream ended before.
    async fn until(&mut self, wanted: &str) -> Option<String> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return Some(std::mem::replace(&mut self.text, rest));
            }
            match timeout(Duration::from_secs(5), self.connection.read(&mut buffer)).await.expect("a stream that speaks") {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.text += std::str::from_utf8(&buffer[..read]).unwrap(),
            }
        }
    }

    /// The data of the next event of this kind.
    async fn event(&mut self, kind: &str) -> Option<Value> {
        self.until(&format!("event: {kind}\ndata: ")).await?;
        let data = self.until("\n\n").await?;
        Some(serde_json::from_str(&data).unwrap())
    }
}

#[tokio::test]
async fn a_snapshot_and_then_changes_until_the_server_stops() {
    let live = Live::start(2).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let mut reader = Reader::open(admin.local_addr(), get(STREAM)).await;
    let head = reader.until("\r\n\r\n").await.unwrap().to_lowercase();
    assert!(head.contains("200 ok") && head.contains("content-type: text/event-stream") && head.contains("no-store"), "{head}");
    let first = reader.event("snapshot").await.unwrap();
    assert_eq!(first["endpoints"]["set"].as_array().unwrap().len(), 2);
    live.channel.drain(live.servers[0].addr().to_string());
    let excluded = async {
        loop {
            let change = reader.event("change").await.unwrap();
            if change["endpoints"]["set"][0]["excluded"] == "drained" {
                return;
            }
        }
    };
    timeout(Duration::from_secs(5), excluded).await.unwrap();
    admin.stop().await;
    assert!(reader.event("never").await.is_none(), "it ended");
}

#[tokio::test]
async fn it_ends_with_its_channel_and_unknown_services_have_none() {
    let (channel, other) = (idle(&["127.0.0.1:1"]), idle(&["127.0.0.1:2"]));
    let admin = orders(&channel).service("a/b c", &other).serve().await.unwrap();
    let mut reader = Reader::open(admin.local_addr(), get(format!("{STREAM}?service=orders"))).await;
    assert_eq!(reader.event("snapshot").await.unwrap()["service"], "orders");
    let mut odd = Reader::open(admin.local_addr(), get(format!("{STREAM}?service=a%2Fb%20c"))).await;
    assert_eq!(odd.event("snapshot").await.unwrap()["service"], "a/b c");
    drop(channel);
    assert!(reader.event("never").await.is_none(), "it ended");
    get(format!("{STREAM}?service=orders")).of(admin.local_addr()).await.problem(404);
}

#[tokio::test]
async fn it_needs_the_token_and_says_what_its_bearer_may_do() {
    let channel = idle(&["127.0.0.1:1"]);
    let tokens = |builder: lb_admin::AdminBuilder| {
        let operator = AdminToken::operator("o", OPERATOR).unwrap();
        builder.token(operator).token(AdminToken::reader("r", READER).unwrap())
    };
    let admin = tokens(orders(&channel)).serve().await.unwrap();
    get(STREAM).of(admin.local_addr()).await.problem(401);
    for (secret, may) in [(OPERATOR, true), (READER, false)] {
        let mut reader = Reader::open(admin.local_addr(), get(STREAM).token(secret)).await;
        assert_eq!(reader.event("snapshot").await.unwrap()["mayChange"], may);
    }
    let admin = tokens(orders(&channel)).read_only(true).serve().await.unwrap();
    let mut reader = Reader::open(admin.local_addr(), get(STREAM).token(OPERATOR)).await;
    assert_eq!(reader.event("snapshot").await.unwrap()["mayChange"], false);
}

#[tokio::test]
async fn streams_are_counted_and_one_that_ends_makes_room() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let mut readers = Vec::new();
    for _ in 0..STREAMS {
        let mut reader = Reader::open(addr, get(STREAM)).await;
        reader.event("snapshot").await.unwrap();
        readers.push(reader);
    }
    let detail = get(STREAM).of(addr).await.problem(503);
    assert!(detail.contains("16"), "{detail}");
    assert_eq!(get("/api/v1/loadbalancer/stats").of(addr).await.status, 200, "everything else still answers");
    readers.pop();
    let room = async {
        loop {
            let mut reader = Reader::open(addr, get(STREAM)).await;
            if reader.until("\r\n").await.unwrap().contains("200") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(5), room).await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_read_holds_up_nobody() {
    let live = Live::start(2).await;
    let limits = lb_admin::AdminLimits::new();
    let admin = orders(&live.channel).limits(limits).serve().await.unwrap();
    // Asked for, and never read.
    let _deaf = Reader::open(admin.local_addr(), get(STREAM)).await;
    let mut reader = Reader::open(admin.local_addr(), get(STREAM)).await;
    reader.event("snapshot").await.unwrap();
    for _ in 0..3 {
        reader.event("change").await.unwrap();
    }
    live.channel.drain(live.servers[0].addr().to_string());
    live.until(|channel| channel.endpoints()[0].excluded.is_some()).await;
    admin.stop().await;
}
