//! Ports that stay ours while nobody listens on them.
//!
//! A server that restarts on its own port, or an endpoint that must refuse connections for the whole of a test, cannot hope
//! that nobody else is given the port meanwhile. A socket that is bound but does not listen holds it: connections are refused, the kernel
//! hands the port to nobody, and a listener can be bound beside it because both set `SO_REUSEADDR`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// Enough for bursts of connections in tests; the kernel caps it anyway.
const BACKLOG: i32 = 1024;

/// A TCP port held without listening: connecting to it is refused until [`ReservedPort::listen`].
#[derive(Debug)]
pub struct ReservedPort {
    _held: Socket,
    addr: SocketAddr,
}

impl ReservedPort {
    /// Holds a free port of 127.0.0.1.
    pub fn new() -> io::Result<Self> {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Holds this address; port 0 means any free port.
    pub fn at(addr: SocketAddr) -> io::Result<Self> {
        let held = bound(addr)?;
        let addr = held.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { _held: held, addr })
    }

    /// The address held.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens on the port. The port stays held when the listener is dropped.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.addr)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

/// A TCP port where connecting hangs: the kernel drops every SYN because the accept queue is full.
#[derive(Debug)]
pub struct HangingPort {
    _listener: Socket,
    _queued: Vec<TcpStream>,
    addr: SocketAddr,
}

impl HangingPort {
    /// How long a connection attempt to our own full queue may take before it counts as hanging.
    const FULL_AFTER: Duration = Duration::from_millis(50);

    /// Opens one on 127.0.0.1. Blocks for about 50 ms.
    pub fn new() -> io::Result<Self> {
        let listener = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        listener.listen(0)?;
        let addr = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Self::FULL_AFTER) {
            queued.push(stream);
        }
        Ok(Self { _listener: listener, _queued: queued, addr })
    }

    /// The address where connecting hangs.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
