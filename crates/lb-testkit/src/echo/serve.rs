//! The running part of an echo server: one accept loop, one tonic server per generation.
//!
//! GOAWAY in tonic means "stop this server". To send it and keep listening, the accept loop hands connections to a generation, a
//! tonic server fed by a queue, and replaces the generation when connections are to go away.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::Router;

use crate::cut::{Connections, CutIo, Socket};
use crate::port::ReservedPort;

/// Where a server listens, held for as long as the server exists.
#[derive(Debug)]
pub(super) enum Place {
    Tcp(ReservedPort),
    Unix(PathBuf),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Place {
    fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(port) => port.listen().map(Listener::Tcp),
            Self::Unix(path) => {
                let _ = std::fs::remove_file(path);
                UnixListener::bind(path).map(Listener::Unix)
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Unix(path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// One tonic server; dropping it sends GOAWAY and lets its streams finish.
struct Generation {
    connections: mpsc::UnboundedSender<io::Result<CutIo>>,
    _stop: oneshot::Sender<()>,
}

impl Generation {
    fn start(router: Router) -> Self {
        let (connections, incoming) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        tokio::spawn(async move {
            let served = router.serve_with_incoming_shutdown(UnboundedReceiverStream::new(incoming), stopped).await;
            if let Err(error) = served {
                tracing::debug!(%error, "an echo server ended");
            }
        });
        Self { connections, _stop: stop }
    }
}

/// A listening server. Dropping it closes the listener and sends GOAWAY; it cuts no connection.
#[derive(Debug)]
pub(super) struct Running {
    goaway: mpsc::UnboundedSender<()>,
    accepting: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(place: &Place, router: Router, connections: &Arc<Connections>) -> io::Result<Self> {
        let listener = place.listen()?;
        let (goaway, asked) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(accept(listener, router, Arc::clone(connections), asked));
        Ok(Self { goaway, accepting })
    }

    /// Sends GOAWAY on every open connection and goes on listening.
    pub(super) fn goaway(&self) {
        let _ = self.goaway.send(());
    }

    /// Closes the listener and sends GOAWAY. Returns when no new connection can be accepted.
    pub(super) async fn stop(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: Listener, router: Router, connections: Arc<Connections>, mut goaway: mpsc::UnboundedReceiver<()>) {
    let mut generation = Generation::start(router.clone());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(socket) => {
                    let _ = generation.connections.send(Ok(connections.adopt(socket)));
                }
                Err(error) => tracing::debug!(%error, "an echo server could not accept"),
            },
            asked = goaway.recv() => match asked {
                Some(()) => generation = Generation::start(router.clone()),
                None => return,
            },
        }
    }
}
