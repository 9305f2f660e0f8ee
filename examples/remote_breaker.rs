//! A circuit breaker kept elsewhere, over HTTP: this client asks it now and then which endpoints to leave alone, and tells it how calls
//! ended. So one client's failures keep all others away from a server before they have made any of their own.
//! Run it with `cargo run --example remote_breaker`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel::breaker::{BreakerConfig, RemoteBreaker, RemoteError, RemoteReport, RemoteState, RemoteUpdate};
use evenkeel::{CallError, LbChannel};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use support::{Failure, PATIENCE, key, servers, target};

/// How often it is asked.
const CHECK: Duration = Duration::from_millis(20);

/// `GET /states` answers `{"10.0.0.1:50051": "open", …}`; `POST /outcomes` takes a list of reports.
#[derive(Debug)]
struct HttpBreaker {
    server: SocketAddr,
}

impl RemoteBreaker for HttpBreaker {
    fn states(&self) -> BoxStream<'static, RemoteUpdate> {
        let server = self.server;
        let looks = stream::unfold((), move |()| async move {
            // One that cannot be asked says nothing: what it said last holds until its time is over.
            let answer = http(server, "GET", "/states", "").await.unwrap_or_default();
            let states: BTreeMap<String, RemoteState> = serde_json::from_str(&answer).unwrap_or_default();
            let updates: Vec<RemoteUpdate> = states
                .into_iter()
                // For ten looks: then an endpoint is tried again though nobody says that it is well.
                .map(|(endpoint, state)| RemoteUpdate::new(endpoint, state).open_for(10 * CHECK))
                .collect();
            tokio::time::sleep(CHECK).await;
            Some((stream::iter(updates), ()))
        });
        looks.flatten().boxed()
    }

    fn report(&self, reports: Vec<RemoteReport>) -> BoxFuture<'static, Result<(), RemoteError>> {
        let server = self.server;
        Box::pin(async move {
            let body = serde_json::to_string(&reports).map_err(|error| RemoteError::new(error.to_string()))?;
            let sent = http(server, "POST", "/outcomes", &body).await;
            sent.map(drop).map_err(|error| RemoteError::new(error.to_string()))
        })
    }

    fn report_every(&self) -> Duration {
        CHECK
    }
}

/// The body of the answer. A program would use its HTTP client, and reuse connections.
async fn http(server: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: breaker\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200"));
    body.map(|(_, body)| body.to_owned()).ok_or_else(|| io::Error::other("no 200"))
}

/// The other side, as small as it can be: opens an endpoint when it has heard of five failures, and never closes it.
async fn serve(listener: TcpListener, failures: Arc<Mutex<BTreeMap<String, u64>>>) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut request = String::new();
        let complete = |request: &str| {
            let (head, body) = request.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            (body.len() >= length.parse().ok()?).then(|| body.to_owned())
        };
        let body = loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await?;
            request.push_str(&String::from_utf8_lossy(&piece[..read]));
            match complete(&request) {
                Some(body) => break body,
                None if read == 0 => break String::new(),
                None => {}
            }
        };
        let answer = {
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            if request.starts_with("POST") {
                for report in serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap_or_default() {
                    let endpoint = report["endpoint"].as_str().unwrap_or_default().to_owned();
                    *failures.entry(endpoint).or_default() += report["failed"].as_u64().unwrap_or(0);
                }
            }
            let state = |failed: u64| if failed >= 5 { RemoteState::Open } else { RemoteState::Closed };
            let states: BTreeMap<&String, RemoteState> = failures.iter().map(|(key, failed)| (key, state(*failed))).collect();
            serde_json::to_string(&states)?
        };
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).await?;
    }
}

/// A client that follows the remote breaker alone.
fn client(servers: &[EchoServer], remote: SocketAddr) -> Result<LbChannel, Failure> {
    let config = BreakerConfig::default().consecutive_failures(None);
    let channel =
        LbChannel::builder(target(servers)).circuit_breaker(config).remote_breaker(HttpBreaker { server: remote }).build()?;
    Ok(channel)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(2).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let remote = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener, Arc::default()));

    let (one, other) = (client(&servers, remote)?, client(&servers, remote)?);
    servers[0].fail(Code::Unavailable);
    let mut calls = EchoClient::new(one.clone());
    let mut failed = 0;
    for _ in 0..10 {
        failed += u32::from(calls.unary(EchoRequest::default()).await.is_err());
    }
    println!("one client had {failed} failures of s0");

    let s0 = key(&servers[0]);
    let open = |channel: &LbChannel| {
        channel.endpoints().iter().any(|info| info.key == s0 && info.breakers.iter().any(|breaker| breaker.state.is_open()))
    };
    other.exit_idle();
    let told = async {
        while !(open(&one) && open(&other)) {
            tokio::time::sleep(CHECK).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await?;
    let mut calls = EchoClient::new(other.clone());
    for _ in 0..10 {
        assert_eq!(calls.unary(EchoRequest::default()).await?.into_inner().server, "s1");
    }
    println!("the other client was told, and made no call to s0");
    let pinned = evenkeel::PickOptions::new().pin(s0.clone());
    match other.pick(pinned).await {
        Err(error @ CallError::BreakersOpen { .. }) => println!("{error}"),
        unexpected => return Err(format!("{unexpected:?}").into()),
    }
    serving.abort();
    Ok(())
}
