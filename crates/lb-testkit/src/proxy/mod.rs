//! A network that misbehaves: a TCP proxy in front of a server.
//!
//! Client and server keep real sockets; what happens between the two is switched at run time. A black hole is not a closed socket: both
//! sides stay connected and simply hear nothing, as when a cable is pulled. Bytes held back are delivered, in order, once the
//! fault ends. Up to 4 MiB per direction are taken from a sender before it feels that nobody reads.

mod pump;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::pump::Counters;
use crate::port::ReservedPort;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What the network does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    #[default]
    Pass,
    /// Every byte arrives this much later, in both directions.
    Delay(Duration),
    /// One direction delivers nothing, the end of the stream included; the other works.
    HalfOpen(Direction),
    /// Neither direction delivers anything. A connection made meanwhile is accepted and then hears nothing.
    BlackHole,
    /// Delivers so many more bytes in one direction, then resets both sides.
    CutAfter {
        /// The direction that is counted; the other is not limited.
        direction: Direction,
        /// Bytes delivered before the cut.
        bytes: u64,
    },
    /// One direction delivers every byte with all its bits flipped: nonsense, in whatever protocol.
    Garble(Direction),
    /// Delivers so many bytes at a time.
    Drip {
        /// Bytes at a time; 0 counts as 1.
        bytes: usize,
        /// Time between two deliveries.
        every: Duration,
    },
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// An orderly end of both streams.
    Fin,
    /// A reset of both sockets.
    Rst,
}

/// A TCP proxy on 127.0.0.1. Dropping it resets nothing but ends everything: listener, connections and tasks.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    doors: mpsc::UnboundedSender<(Door, oneshot::Sender<io::Result<()>>)>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
enum Door {
    Open,
    Closed,
}

#[derive(Debug)]
struct Shared {
    links: Mutex<Links>,
    accepted: AtomicU64,
    counters: Counters,
}

#[derive(Debug)]
struct Links {
    /// Where a new connection leads.
    upstream: SocketAddr,
    /// What a new connection begins with.
    fault: Fault,
    open: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    fault: watch::Sender<Fault>,
    cut: Option<oneshot::Sender<Cut>>,
}

impl FaultProxy {
    /// Starts one in front of `upstream`, on a free port, passing everything.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let port = ReservedPort::new()?;
        let addr = port.addr();
        let listener = port.listen()?;
        let shared = Arc::new(Shared::new(upstream));
        let (doors, asked) = mpsc::unbounded_channel();
        let accept = Accept { port, shared: Arc::clone(&shared), links: JoinSet::new() };
        Ok(Self { addr, shared, doors, accepting: tokio::spawn(accept.run(listener, asked)) })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URI a plain tonic channel connects to.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Does this to every open connection and every one to come.
    pub fn set(&self, fault: Fault) {
        self.set_new(fault);
        self.set_existing(fault);
    }

    /// Does this to connections made from now on.
    pub fn set_new(&self, fault: Fault) {
        self.shared.links().fault = fault;
    }

    /// Does this to the connections open now.
    pub fn set_existing(&self, fault: Fault) {
        for link in &self.shared.links().open {
            link.fault.send_replace(fault);
        }
    }

    /// Leads connections made from now on to another server; those that are open stay where they are.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.shared.links().upstream = upstream;
    }

    /// Cuts every open connection.
    pub fn cut(&self, how: Cut) {
        for link in &mut self.shared.links().open {
            if let Some(cut) = link.cut.take() {
                let _ = cut.send(how);
            }
        }
    }

    /// Refuses connections from now on; open ones are left alone.
    pub async fn refuse(&self) -> io::Result<()> {
        self.door(Door::Closed).await
    }

    /// Accepts connections again, on the same port.
    pub async fn accept(&self) -> io::Result<()> {
        self.door(Door::Open).await
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        let mut links = self.shared.links();
        links.forget_closed();
        links.open.len()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes delivered so far in this direction, over all connections.
    pub fn delivered(&self, direction: Direction) -> u64 {
        self.shared.counters.get(direction)
    }

    async fn door(&self, door: Door) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let _ = self.doors.send((door, done));
        answer.await.map_err(|_| io::Error::other("the runtime of the proxy is gone"))?
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The accept loop owns the connections' tasks and takes them with it.
        self.accepting.abort();
    }
}

impl Shared {
    fn new(upstream: SocketAddr) -> Self {
        let links = Links { upstream, fault: Fault::Pass, open: Vec::new() };
        Self { links: Mutex::new(links), accepted: AtomicU64::new(0), counters: Counters::default() }
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> (watch::Receiver<Fault>, oneshot::Receiver<Cut>, SocketAddr) {
        let mut links = self.links();
        links.forget_closed();
        let (cut, cutting) = oneshot::channel();
        let fault = watch::Sender::new(links.fault);
        let faults = fault.subscribe();
        links.open.push(Link { fault, cut: Some(cut) });
        // Whoever sees the new count can act on the connection.
        self.accepted.fetch_add(1, Ordering::Relaxed);
        (faults, cutting, links.upstream)
    }
}

impl Links {
    fn forget_closed(&mut self) {
        self.open.retain(|link| !link.fault.is_closed());
    }
}

/// The accept loop and what it owns.
struct Accept {
    port: ReservedPort,
    shared: Arc<Shared>,
    links: JoinSet<()>,
}

impl Accept {
    async fn run(mut self, listener: TcpListener, mut doors: mpsc::UnboundedReceiver<(Door, oneshot::Sender<io::Result<()>>)>) {
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                Some(Ok((client, _))) = accept(listener.as_ref()) => self.admit(client),
                asked = doors.recv() => {
                    let Some((door, done)) = asked else { return };
                    let _ = done.send(self.turn(door, &mut listener));
                }
                Some(_) = self.links.join_next() => {}
            }
        }
    }

    fn turn(&self, door: Door, listener: &mut Option<TcpListener>) -> io::Result<()> {
        *listener = match (door, listener.take()) {
            (Door::Closed, _) => None,
            (Door::Open, Some(open)) => Some(open),
            (Door::Open, None) => Some(self.port.listen()?),
        };
        Ok(())
    }

    fn admit(&mut self, client: TcpStream) {
        let (faults, cut, upstream) = self.shared.admit();
        let shared = Arc::clone(&self.shared);
        self.links.spawn(async move { pump::run(client, upstream, faults, cut, &shared.counters).await });
    }
}

/// Accepts, or waits for ever while the door is closed.
async fn accept(listener: Option<&TcpListener>) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    match listener {
        Some(listener) => Some(listener.accept().await),
        None => std::future::pending().await,
    }
}
