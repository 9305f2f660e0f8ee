//! The address of whom a call is made for.

use std::net::{IpAddr, SocketAddr};

/// The address of the peer that a call is made for, put into the request's extensions by a program that passes calls on.
///
/// ```
/// use lb_tonic::PeerAddress;
/// # fn pass_on(incoming: tonic::Request<()>) -> tonic::Request<()> {
/// let mut outgoing = tonic::Request::new(());
/// // With tonic's feature `server`.
/// if let Some(peer) = incoming.remote_addr() {
///     outgoing.extensions_mut().insert(PeerAddress::from(peer));
/// }
/// # outgoing }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// An IPv4 address within IPv6 is that IPv4 address.
    pub(super) fn text(self) -> String {
        self.0.to_canonical().to_string()
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.ip())
    }
}

impl From<IpAddr> for PeerAddress {
    fn from(address: IpAddr) -> Self {
        Self(address)
    }
}

/// The first address of a list such as `x-forwarded-for`, or of the first `for=` of `forwarded`; with or without port, brackets and
/// quotes. `None` for anything else, `unknown` and obfuscated names among it.
pub(super) fn forwarded(list: &str) -> Option<IpAddr> {
    let first = list.split(',').next()?;
    let is_for = |pair: &&str| pair.trim().get(..4).is_some_and(|name| name.eq_ignore_ascii_case("for="));
    let text = match first.split(';').find(is_for) {
        Some(pair) => &pair.trim()[4..],
        None => first,
    };
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}
