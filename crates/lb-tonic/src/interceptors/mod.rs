//! Interceptors that fill a call's [`PickOptions`] from what the call carries.
//!
//! A program that passes calls on has the user's session, key or region in a header, a cookie, a token or the peer's address. A
//! [`FillOptions`] reads one of them and writes it into one wish of the call; it is an interceptor, and so is every
//! [chain](FillOptions::then) of it with others, a user's own among them. What the call wishes itself already is left alone.
//!
//! **Nothing here is verified.** Headers, cookies, claims and forwarded addresses are what somebody says. In a
//! JSON Web Token only the payload is read; its signature is **not** checked. Use what comes out to choose an endpoint, and never to
//! decide who somebody is or what they may do.
//!
//! **Bounds.** A value longer than 1 KiB, a token longer than 8 KiB, and text that cannot be read are as good as none: the call goes on
//! without that wish. Reading never fails a call.
//!
//! ```
//! use lb_tonic::{FillOptions, PickOptions};
//! use tonic::Request;
//! use tonic::service::Interceptor;
//!
//! let mut interceptor = FillOptions::session().by_cookie("sid")
//!     .then(FillOptions::region().by_header("x-user-region"))
//!     .then(FillOptions::hash_key().by_jwt("authorization", "sub"))
//!     .then(PickOptions::new().not_overloaded())
//!     .then(|request: Request<()>| Ok(request));
//! let mut request = Request::new(());
//! request.metadata_mut().insert("cookie", "theme=dark; sid=s-123".parse()?);
//! let request = interceptor.call(request)?;
//! assert_eq!(request.extensions().get::<PickOptions>().unwrap().hints().session.as_deref(), Some("s-123"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: RFC 6265 (cookies), RFC 7519 and 7515 (JSON Web Tokens), RFC 7239 (`forwarded`).

mod cookie;
mod jwt;
mod peer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::options::PickOptions;

pub use peer::PeerAddress;

/// The longest value that becomes a wish, in bytes. Longer than any session id or region in use, and short enough to be hashed and
/// remembered for every call.
const MAX_VALUE: usize = 1024;

/// Changes what was read, or drops it.
type Map = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// An interceptor that reads one wish of each call from what the call carries. See the [module](self).
///
/// Without a source (`by_…`) it does nothing.
#[derive(Clone)]
pub struct FillOptions {
    wish: Wish,
    source: Source,
    map: Option<Map>,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Session,
    HashKey,
    Region,
}

#[derive(Debug, Clone)]
enum Source {
    Nothing,
    Header(String),
    Cookie(String),
    Jwt { header: String, claim: String },
    Peer,
    Forwarded(String),
}

impl FillOptions {
    /// Fills the [session](PickOptions::session).
    pub fn session() -> Self {
        Self::new(Wish::Session)
    }

    /// Fills the [hash key](PickOptions::hash_key).
    pub fn hash_key() -> Self {
        Self::new(Wish::HashKey)
    }

    /// Fills the [preferred region](PickOptions::prefer_region).
    pub fn region() -> Self {
        Self::new(Wish::Region)
    }

    fn new(wish: Wish) -> Self {
        Self { wish, source: Source::Nothing, map: None }
    }

    /// Reads the first value of this header of the call's metadata, if it is text. Names are not case-sensitive.
    #[must_use]
    pub fn by_header(self, name: impl Into<String>) -> Self {
        Self { source: Source::Header(name.into()), ..self }
    }

    /// Reads the cookie of this name from the `cookie` header (RFC 6265); of several the first. Names are case-sensitive.
    #[must_use]
    pub fn by_cookie(self, name: impl Into<String>) -> Self {
        Self { source: Source::Cookie(name.into()), ..self }
    }

    /// Reads a claim of the JSON Web Token in this header, most often `authorization`, with or without `Bearer` before it. The claim must
    /// be a text, a whole number or a boolean at the top of the payload.
    ///
    /// **The token is read and not verified**: no signature, no expiry, no issuer is checked. Anybody can write any claim.
    #[must_use]
    pub fn by_jwt(self, header: impl Into<String>, claim: impl Into<String>) -> Self {
        Self { source: Source::Jwt { header: header.into(), claim: claim.into() }, ..self }
    }

    /// Reads the [`PeerAddress`] in the request's extensions: the address of whom this call is made for. The port does not count.
    #[must_use]
    pub fn by_peer(self) -> Self {
        Self { source: Source::Peer, ..self }
    }

    /// Reads the first address of a header that proxies write: `forwarded` (RFC 7239), or a list such as `x-forwarded-for`. Who is not
    /// behind a proxy that cleans it can write anything there.
    #[must_use]
    pub fn by_forwarded(self, header: impl Into<String>) -> Self {
        Self { source: Source::Forwarded(header.into()), ..self }
    }

    /// Changes what was read, such as an address into a region; `None` makes it no wish.
    #[must_use]
    pub fn map(self, map: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { map: Some(Arc::new(map)), ..self }
    }

    /// This interceptor and then another one.
    #[must_use]
    pub fn then<I: Interceptor>(self, next: I) -> Chain<Self, I> {
        Chain { first: self, next }
    }

    fn read(&self, request: &Request<()>) -> Option<String> {
        let headers = request.metadata().as_ref();
        let found = match &self.source {
            Source::Nothing => None,
            Source::Header(name) => text(headers, name).map(str::to_owned),
            Source::Cookie(name) => cookie::find(headers, name).map(str::to_owned),
            Source::Jwt { header, claim } => text(headers, header).and_then(|token| jwt::claim(token, claim)),
            Source::Peer => request.extensions().get::<PeerAddress>().map(|peer| peer.text()),
            Source::Forwarded(name) => text(headers, name).and_then(peer::forwarded).map(|address: IpAddr| address.to_string()),
        };
        let found = found.filter(|found| found.len() <= MAX_VALUE)?;
        let found = match &self.map {
            Some(map) => map(&found)?,
            None => found,
        };
        Some(found).filter(|found| !found.is_empty() && found.len() <= MAX_VALUE)
    }

    fn fill(&self, options: PickOptions, value: String) -> PickOptions {
        options.or(&match self.wish {
            Wish::Session => PickOptions::new().session(value),
            Wish::HashKey => PickOptions::new().hash_key(value),
            Wish::Region => PickOptions::new().prefer_region(value),
        })
    }
}

/// The first value of a header, if it is text.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

impl Interceptor for FillOptions {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = self.read(&request) {
            let options = request.extensions_mut().remove::<PickOptions>().unwrap_or_default();
            let options = self.fill(options, value);
            request.extensions_mut().insert(options);
        }
        Ok(request)
    }
}

impl fmt::Debug for FillOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FillOptions").field("wish", &self.wish).field("source", &self.source).finish_non_exhaustive()
    }
}

/// Two interceptors, one after the other. The second does not run if the first refuses the call.
#[derive(Debug, Clone)]
pub struct Chain<A, B> {
    first: A,
    next: B,
}

impl<A: Interceptor, B: Interceptor> Chain<A, B> {
    /// These and then another one.
    #[must_use]
    pub fn then<I: Interceptor>(self, next: I) -> Chain<Self, I> {
        Chain { first: self, next }
    }
}

impl<A: Interceptor, B: Interceptor> Interceptor for Chain<A, B> {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.next.call(self.first.call(request)?)
    }
}
