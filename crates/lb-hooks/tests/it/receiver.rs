//! An HTTP server that does what a test tells it, and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest wait for something that takes a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How a request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With a status and a body.
    With(u16, String),
    /// With a status and this in `Retry-After`.
    Later(u16, &'static str),
    /// Never.
    Never,
    /// By closing the connection.
    Close,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Counts connections.
    pub(crate) connection: u32,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The kinds of the events in it, and how many it says were lost.
    pub(crate) fn told(&self) -> (Vec<String>, u64) {
        let json = self.json();
        let kind = |event: &serde_json::Value| event["kind"].as_str().expect("a kind").to_owned();
        (json["events"].as_array().expect("events").iter().map(kind).collect(), json["lost"].as_u64().expect("a number"))
    }
}

/// Stops when dropped, its connections too.
pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    received: Mutex<Vec<Received>>,
    /// Counts what was received.
    count: watch::Sender<usize>,
    /// Connections that are open.
    open: watch::Sender<u32>,
}

impl Receiver {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), answer).await
    }

    /// At an address where one was before.
    pub(crate) async fn at(addr: SocketAddr, answer: Answer) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a listener");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            received: Mutex::default(),
            count: watch::channel(0).0,
            open: watch::channel(0).0,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?key=1", self.addr)
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *lock(&self.shared.answer) = answer;
    }

    /// What it has received, once that is at least so much.
    pub(crate) async fn received(&self, count: usize) -> Vec<Received> {
        let mut counted = self.shared.count.subscribe();
        let enough = tokio::time::timeout(PATIENCE, counted.wait_for(|received| *received >= count)).await;
        enough.expect("enough in time").expect("it lives");
        lock(&self.shared.received).clone()
    }

    /// Until nobody is connected.
    pub(crate) async fn left(&self) {
        let mut open = self.shared.open.subscribe();
        tokio::time::timeout(PATIENCE, open.wait_for(|open| *open == 0)).await.expect("in time").expect("it lives");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        shared.open.send_modify(|open| *open += 1);
        connections.spawn(async move {
            serve(stream, &shared, connection).await;
            shared.open.send_modify(|open| *open -= 1);
        });
    }
}

/// Until the other side closes or something goes wrong.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: &Shared, connection: u32) {
    while let Some((head, body)) = request(&mut stream).await {
        lock(&shared.received).push(Received { head, body, connection });
        shared.count.send_modify(|count| *count += 1);
        let answer = lock(&shared.answer).clone();
        match answer {
            Answer::With(status, body) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Later(status, when) => {
                let answer = format!("HTTP/1.1 {status} X\r\nretry-after: {when}\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            // Until the other side gives up.
            Answer::Never => drop(stream.read(&mut [0]).await),
            Answer::Close => return,
        }
    }
}

/// Head and body of a request; `None` at the end of the connection.
pub(crate) async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec()).expect("a head of text");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + length {
                return Some((head, read.split_off(end + 4)));
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
