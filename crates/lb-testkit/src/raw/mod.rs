//! A server that speaks HTTP/2 frame by frame, or not at all.
//!
//! A well-made HTTP/2 library refuses to say what a broken peer says: a GOAWAY with an odd last stream, settings that never come, half a
//! frame. Here a script writes the frames itself. It is for misbehaviour at the transport; for anything a real server would do, use
//! [`EchoServer`](crate::EchoServer).
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use lb_testkit::RawServer;
//! // Answers the first call of each connection, and says that it will take no other.
//! let server = RawServer::start(|mut conn| async move {
//!     conn.handshake(&[]).await?;
//!     let call = conn.next_call().await?;
//!     conn.goaway(call, 0, b"enough").await?;
//!     conn.reply(call, b"").await
//! }).await?;
//! # Ok(()) }
//! ```

mod conn;
mod frame;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use self::conn::{Heard, RawConn};
pub use self::frame::{Frame, kind, setting};

/// A listener whose connections each run a script. Dropping it ends them all.
#[derive(Debug)]
pub struct RawServer {
    addr: SocketAddr,
    accepted: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl RawServer {
    /// Runs the script for every connection on a free port of 127.0.0.1. The connection closes when the script ends, whatever it returns.
    pub async fn start<F, S>(script: F) -> io::Result<Self>
    where
        F: Fn(RawConn) -> S + Send + 'static,
        S: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let accepted = Arc::<AtomicU64>::default();
        let accepting = tokio::spawn(accept(listener, script, Arc::clone(&accepted)));
        Ok(Self { addr, accepted, accepting })
    }

    /// Accepts, and never says a word.
    pub async fn silent() -> io::Result<Self> {
        Self::says(b"").await
    }

    /// Says this on every connection, whatever it hears, and then waits for the peer to leave.
    pub async fn says(words: &'static [u8]) -> io::Result<Self> {
        Self::start(move |mut conn| async move {
            conn.write(words).await?;
            conn.drain().await
        })
        .await
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URI a plain tonic channel connects to.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F, S>(listener: TcpListener, script: F, accepted: Arc<AtomicU64>)
where
    F: Fn(RawConn) -> S,
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut scripts = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let index = accepted.fetch_add(1, Ordering::Relaxed);
                scripts.spawn(script(RawConn::new(stream, index)));
            }
            Some(_) = scripts.join_next() => {}
        }
    }
}
