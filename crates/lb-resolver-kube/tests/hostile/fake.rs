//! A server of bytes: one answer per connection, whatever the request says.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A list of a slice with one endpoint.
pub(crate) const GOOD: &str = r#"{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a","resourceVersion":"1"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"name":"grpc","port":1}]}]}"#;

/// A whole answer.
pub(crate) fn answer(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The beginning of an answer that says nothing and does not end.
pub(crate) const SILENCE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<String>>,
    sent: AtomicUsize,
    open: AtomicUsize,
}

/// From the first line of a request to the whole answer.
type Answers = dyn Fn(&str) -> Vec<u8> + Send + Sync;

enum Manner {
    Whole(Box<Answers>),
    /// Begins so and goes on for ever.
    Endless(Vec<u8>),
    /// A list is answered with this, a watch with a line without end.
    EndlessWatch(Vec<u8>),
    /// A byte each 100 ms.
    Drip(Vec<u8>),
    Silent,
    /// A list is answered with this, a watch begins and says nothing.
    SilentWatch(Vec<u8>),
}

/// Ends with the handle.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

impl Fake {
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with(Manner::Whole(Box::new(answer))).await
    }

    pub(crate) async fn endless(beginning: Vec<u8>) -> Self {
        Self::with(Manner::Endless(beginning)).await
    }

    pub(crate) async fn endless_watch(list: Vec<u8>) -> Self {
        Self::with(Manner::EndlessWatch(list)).await
    }

    pub(crate) async fn drip(answer: Vec<u8>) -> Self {
        Self::with(Manner::Drip(answer)).await
    }

    pub(crate) async fn silent_watch(list: Vec<u8>) -> Self {
        Self::with(Manner::SilentWatch(list)).await
    }

    pub(crate) async fn silent() -> Self {
        Self::with(Manner::Silent).await
    }

    async fn with(manner: Manner) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("evenkeel-fake-kube-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let kubeconfig = std::env::temp_dir().join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{{name: t, cluster: {{server: \"http://{}\"}}}}]\n\
             users: []\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n",
            listener.local_addr().unwrap()
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let (shared, manner) = (Arc::new(Shared::default()), Arc::new(manner));
        let state = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, manner) = (Arc::clone(&state), Arc::clone(&manner));
                tokio::spawn(async move {
                    state.open.fetch_add(1, Ordering::SeqCst);
                    let _ = serve(stream, &state, &manner).await;
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { shared, kubeconfig, task }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// The first line of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open.
    pub(crate) async fn closed(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.open() > 0 {
            assert!(Instant::now() < deadline, "a connection stays open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared, manner: &Manner) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    shared.requests.lock().unwrap().push(line.clone());
    match manner {
        Manner::Whole(answer) => {
            let answer = answer(&line);
            stream.write_all(&answer).await?;
            while answer == SILENCE && stream.read(&mut [0; 64]).await? > 0 {}
        }
        Manner::EndlessWatch(list) | Manner::SilentWatch(list) if !line.contains("watch=true") => stream.write_all(list).await?,
        Manner::EndlessWatch(_) => endless(&mut stream, b"{\"type\":\"", shared).await?,
        Manner::Endless(beginning) => endless(&mut stream, beginning, shared).await?,
        Manner::Drip(answer) => {
            for byte in answer {
                stream.write_u8(*byte).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Manner::SilentWatch(_) => {
            stream.write_all(SILENCE).await?;
            while stream.read(&mut [0; 64]).await? > 0 {}
        }
        Manner::Silent => while stream.read(&mut [0; 64]).await? > 0 {},
    }
    stream.shutdown().await
}

async fn endless(stream: &mut TcpStream, beginning: &[u8], shared: &Shared) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n").await?;
    stream.write_all(beginning).await?;
    let chunk = vec![b'x'; 64 << 10];
    loop {
        stream.write_all(&chunk).await?;
        shared.sent.fetch_add(chunk.len(), Ordering::SeqCst);
    }
}
