//! One proxied connection: two pumps, each a reader and a writer with a queue between them.
//!
//! The reader stamps what it reads with the time of arrival; the writer applies the fault of the moment. So a delay is latency and not
//! a lower rate, and a fault set later acts on bytes already under way.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Cut, Direction, Fault};

/// One read from a socket; with `QUEUED` of them this bounds what a direction can hold at 4 MiB.
const CHUNK: usize = 16 * 1024;
const QUEUED: usize = 256;

/// Bytes delivered per direction.
#[derive(Debug, Default)]
pub(super) struct Counters {
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Counters {
    fn of(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    pub(super) fn get(&self, direction: Direction) -> u64 {
        self.of(direction).load(Ordering::Relaxed)
    }
}

/// Serves a connection until it ends or is cut.
pub(super) async fn run(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut faults: watch::Receiver<Fault>,
    cut: oneshot::Receiver<Cut>,
    counters: &Counters,
) {
    let mut server = None;
    let how = tokio::select! {
        how = cut => how.unwrap_or(Cut::Rst),
        ended = link(&mut client, &mut server, upstream, &mut faults, counters) => match ended {
            Ok(()) => Cut::Fin,
            Err(_) => Cut::Rst,
        },
    };
    for stream in [Some(client), server].into_iter().flatten() {
        close(stream, how).await;
    }
}

async fn close(mut stream: TcpStream, how: Cut) {
    match how {
        Cut::Fin => drop(stream.shutdown().await),
        Cut::Rst => drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
    }
}

async fn link(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    upstream: SocketAddr,
    faults: &mut watch::Receiver<Fault>,
    counters: &Counters,
) -> io::Result<()> {
    // Whoever connects into a black hole is accepted by it and reaches nobody.
    faults.wait_for(|fault| *fault != Fault::BlackHole).await.map_err(io::Error::other)?;
    let server = server.insert(TcpStream::connect(upstream).await?);
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let there = Pump::new(Direction::ToServer, faults, counters).run(from_client, to_server);
    let back = Pump::new(Direction::ToClient, faults, counters).run(from_server, to_client);
    tokio::try_join!(there, back).map(|_| ())
}

/// One direction of a connection.
struct Pump<'a> {
    direction: Direction,
    faults: watch::Receiver<Fault>,
    delivered: &'a AtomicU64,
    /// Delivered since the present fault was set.
    under_fault: u64,
}

/// A chunk and when it arrived, or why the sender is gone.
type Arrival = (Instant, io::Result<Bytes>);

impl<'a> Pump<'a> {
    fn new(direction: Direction, faults: &watch::Receiver<Fault>, counters: &'a Counters) -> Self {
        Self { direction, faults: faults.clone(), delivered: counters.of(direction), under_fault: 0 }
    }

    async fn run(mut self, from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let (arrivals, mut arrived) = mpsc::channel(QUEUED);
        let deliver = async {
            while let Some((at, chunk)) = arrived.recv().await {
                self.deliver(at, chunk?, &mut to).await?;
            }
            self.gate(Instant::now()).await?;
            to.shutdown().await
        };
        let read = async {
            read(from, arrivals).await;
            std::future::pending().await
        };
        // Delivery ends after reading has, or sooner by an error; then there is nothing left to read for.
        tokio::select! {
            delivered = deliver => delivered,
            delivered = read => delivered,
        }
    }

    async fn deliver(&mut self, at: Instant, mut chunk: Bytes, to: &mut WriteHalf<'_>) -> io::Result<()> {
        while chunk.has_remaining() {
            let allowed = self.gate(at).await?.min(chunk.len());
            let part = self.garbled(chunk.split_to(allowed));
            to.write_all(&part).await?;
            self.under_fault += allowed as u64;
            self.delivered.fetch_add(allowed as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What is delivered in place of these bytes.
    fn garbled(&self, part: Bytes) -> Bytes {
        match *self.faults.borrow() {
            Fault::Garble(direction) if direction == self.direction => part.iter().map(|byte| !byte).collect(),
            _ => part,
        }
    }

    /// Waits until something that arrived `at` may be delivered; yields how many bytes of it.
    async fn gate(&mut self, at: Instant) -> io::Result<usize> {
        loop {
            if let ControlFlow::Break(allowed) = self.try_gate(at).await? {
                return Ok(allowed);
            }
            self.under_fault = 0;
        }
    }

    /// One look at the fault; `Continue` when it changed meanwhile.
    async fn try_gate(&mut self, at: Instant) -> io::Result<ControlFlow<usize>> {
        if self.faults.has_changed().map_err(io::Error::other)? {
            self.under_fault = 0;
        }
        let fault = *self.faults.borrow_and_update();
        let (wait, allowed) = match fault {
            Fault::Pass | Fault::Garble(_) => return Ok(ControlFlow::Break(usize::MAX)),
            Fault::Delay(delay) => (Some(sleep_until(at + delay)), usize::MAX),
            Fault::Drip { bytes, every } => (Some(sleep(every)), bytes.max(1)),
            Fault::CutAfter { direction, bytes } if direction == self.direction => return self.cut_at(bytes),
            Fault::HalfOpen(direction) if direction != self.direction => return Ok(ControlFlow::Break(usize::MAX)),
            Fault::CutAfter { .. } => return Ok(ControlFlow::Break(usize::MAX)),
            Fault::HalfOpen(_) | Fault::BlackHole => (None, 0),
        };
        let waited = async {
            match wait {
                Some(wait) => wait.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => Ok(ControlFlow::Break(allowed)),
            changed = self.faults.changed() => changed.map(|()| ControlFlow::Continue(())).map_err(io::Error::other),
        }
    }

    fn cut_at(&self, bytes: u64) -> io::Result<ControlFlow<usize>> {
        match bytes.saturating_sub(self.under_fault) {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            left => Ok(ControlFlow::Break(usize::try_from(left).unwrap_or(usize::MAX))),
        }
    }
}

/// Reads until the sender ends or breaks; ends early when the writer is gone.
async fn read(mut from: ReadHalf<'_>, arrivals: mpsc::Sender<Arrival>) {
    loop {
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        let read = from.read_buf(&mut chunk).await;
        let (ended, arrival) = match read {
            Ok(0) => return,
            Ok(_) => (false, Ok(chunk.freeze())),
            Err(error) => (true, Err(error)),
        };
        if arrivals.send((Instant::now(), arrival)).await.is_err() || ended {
            return;
        }
    }
}
