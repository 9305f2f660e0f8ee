//! Opens sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_core::Address;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::TransportConfig;
use crate::conn::Socket;
use crate::error::ConnectFailure;

/// Connects to an address that needs no lookup.
pub(super) async fn connect(config: &TransportConfig, address: &Address) -> Result<Socket, ConnectFailure> {
    match address {
        Address::Tcp(address) => tcp(config, *address).await,
        #[cfg(unix)]
        Address::Unix(path) => unix(path).await,
        #[cfg(target_os = "linux")]
        Address::UnixAbstract(name) => unix(std::path::Path::new(&format!("\0{name}"))).await,
        other => Err(ConnectFailure::Unsupported(format!("{other} on {}", std::env::consts::OS))),
    }
}

async fn tcp(config: &TransportConfig, address: SocketAddr) -> Result<Socket, ConnectFailure> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    if let Some(local) = config.local_address {
        bind(&socket, local, address)?;
    }
    let stream = socket.connect(address).await.map_err(failed)?;
    set_options(config, &stream).map_err(failed)?;
    Ok(Socket::Tcp(stream))
}

fn bind(socket: &TcpSocket, local: IpAddr, remote: SocketAddr) -> Result<(), ConnectFailure> {
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(ConnectFailure::Unsupported(format!("the local address {local} is of the other family")));
    }
    socket.bind(SocketAddr::new(local, 0)).map_err(failed)
}

fn set_options(config: &TransportConfig, stream: &TcpStream) -> io::Result<()> {
    // Writes are gathered before they get here, so waiting for more only delays.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(idle) = config.tcp_keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    // gRFC A18: what keepalive cannot see, since its PING is stuck behind unacknowledged data, the kernel does.
    #[cfg(target_os = "linux")]
    if config.keepalive_time.is_some() {
        socket.set_tcp_user_timeout(Some(config.keepalive_timeout))?;
    }
    Ok(())
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> Result<Socket, ConnectFailure> {
    tokio::net::UnixStream::connect(path).await.map(Socket::Unix).map_err(failed)
}

fn failed(error: io::Error) -> ConnectFailure {
    ConnectFailure::Socket(Arc::new(error))
}
