//! What a socket says of itself.

use std::time::Duration;

use lb_core::Address;
use socket2::SockRef;

use super::wire::Socket;
use crate::socket_info::SocketFacts;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::socket_info::SocketSecurity;

impl Socket {
    /// Addresses, protection and options, as they are now.
    pub(super) fn facts(&self) -> SocketFacts {
        match self {
            Self::Tcp(stream) => SocketFacts {
                local: stream.local_addr().ok().map(Address::Tcp),
                remote: stream.peer_addr().ok().map(Address::Tcp),
                options: tcp_options(&SockRef::from(stream)),
                ..SocketFacts::default()
            },
            #[cfg(unix)]
            Self::Unix(stream) => SocketFacts {
                local: stream.local_addr().ok().and_then(|address| unix(&address)),
                remote: stream.peer_addr().ok().and_then(|address| unix(&address)),
                options: buffers(&SockRef::from(stream)),
                ..SocketFacts::default()
            },
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            Self::Tls(stream) => {
                let (socket, connection) = stream.get_ref();
                SocketFacts { security: security(connection), ..socket.facts() }
            }
        }
    }
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn security(connection: &rustls::ClientConnection) -> Option<SocketSecurity> {
    let suite = connection.negotiated_cipher_suite()?.suite();
    // rustls writes its version into the names of TLS 1.3's suites, the registry does not.
    let name = suite.as_str().map_or_else(|| format!("{suite:?}"), |name| name.replacen("TLS13_", "TLS_", 1));
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    Some(SocketSecurity { cipher_suite: name, remote_certificate: certificate.map(|certificate| certificate.to_vec()) })
}

/// `None` for a socket without a name, as a client's end is.
#[cfg(unix)]
fn unix(address: &tokio::net::unix::SocketAddr) -> Option<Address> {
    if let Some(name) = address.as_abstract_name() {
        return Some(Address::UnixAbstract(String::from_utf8_lossy(name).into()));
    }
    address.as_pathname().map(|path| Address::Unix(path.to_owned()))
}

fn tcp_options(socket: &SockRef<'_>) -> Vec<(&'static str, String)> {
    let mut options = buffers(socket);
    options.extend(socket.tcp_nodelay().ok().map(|on| ("TCP_NODELAY", flag(on))));
    options.extend(socket.keepalive().ok().map(|on| ("SO_KEEPALIVE", flag(on))));
    #[cfg(target_os = "linux")]
    if let Ok(Some(timeout)) = socket.tcp_user_timeout() {
        options.push(("TCP_USER_TIMEOUT", seconds(timeout)));
    }
    if let Ok(true) = socket.keepalive()
        && let Ok(idle) = socket.tcp_keepalive_time()
    {
        options.push(("TCP_KEEPIDLE", seconds(idle)));
    }
    options
}

fn buffers(socket: &SockRef<'_>) -> Vec<(&'static str, String)> {
    let sizes = [("SO_SNDBUF", socket.send_buffer_size()), ("SO_RCVBUF", socket.recv_buffer_size())];
    sizes.into_iter().filter_map(|(name, size)| Some((name, size.ok()?.to_string()))).collect()
}

fn flag(on: bool) -> String {
    u8::from(on).to_string()
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}
