//! An agent that answers what no Consul would: a fake on purpose, for what the real one cannot be made to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What the fake does with a request, by its number from 0.
pub(crate) type Script = dyn Fn(usize) -> Reply + Send + Sync;

#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes; the connection stays open.
    Raw(Vec<u8>),
    /// These bytes; then the connection is closed.
    Cut(Vec<u8>),
    /// A body that never ends, in chunks.
    Endless,
    /// A head and then a byte of the body now and then.
    Drip,
    /// Nothing, and the connection stays open.
    Silence,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// The first line of each request.
    pub(crate) requests: Vec<String>,
    /// Connections that are open.
    pub(crate) open: usize,
    /// Bytes sent in endless bodies.
    pub(crate) sent: usize,
}

pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    pub(crate) told: watch::Receiver<Told>,
    task: AbortHandle,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, told) = watch::channel(Told::default());
        let (script, tell): (Arc<Script>, _) = (Arc::new(script), Arc::new(tell));
        let served = Arc::new(Mutex::new(0));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, tell, served) = (Arc::clone(&script), Arc::clone(&tell), Arc::clone(&served));
                tell.send_modify(|told| told.open += 1);
                tokio::spawn(async move {
                    serve(stream, &*script, &tell, &served).await;
                    tell.send_modify(|told| told.open -= 1);
                });
            }
        });
        Self { addr, told, task: task.abort_handle() }
    }

    pub(crate) fn told(&self) -> Told {
        self.told.borrow().clone()
    }
}

/// Until the client closes or the script has it closed.
async fn serve(mut stream: TcpStream, script: &Script, tell: &watch::Sender<Told>, served: &Mutex<usize>) {
    while let Some(line) = request(&mut stream).await {
        tell.send_modify(|told| told.requests.push(line));
        let number = {
            let mut served = served.lock().unwrap();
            *served += 1;
            *served - 1
        };
        match script(number) {
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
            }
            Reply::Cut(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Silence => {}
            Reply::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
                while stream.write_all(&chunk).await.is_ok() {
                    tell.send_modify(|told| told.sent += 0x1_0000);
                }
                return;
            }
            Reply::Drip => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                return;
            }
        }
    }
}

/// Reads a request up to its end (none that is tested here has a body that matters); `None` once the client has closed.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => read.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8_lossy(&read).lines().next().map(str::to_owned)
}

/// A whole answer with this body and index.
pub(crate) fn answer(index: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\nX-Consul-Index: {index}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A set of one endpoint at this port.
pub(crate) fn one(port: u32) -> String {
    format!(r#"[{{ "Node": {{ "Node": "n", "Address": "10.0.0.1" }}, "Service": {{ "ID": "s", "Port": {port} }} }}]"#)
}
