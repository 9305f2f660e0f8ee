//! What the resolver needs from DNS, and the ways it can fail; the seam to the library that speaks it.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;

/// Asks one set of name servers. Futures may be dropped at any time.
pub(crate) trait Dns: Send + Sync + 'static {
    /// The addresses of a name.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Addresses>;

    /// The SRV records of a name.
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Answer<Service>>;

    /// The TXT records of a name, each with its strings joined.
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Answer<String>>;

    /// Starts over with the system's present configuration, after repeated failures.
    fn renew(&self);
}

/// The records of one type.
pub(crate) type Answer<T> = Result<Records<T>, Failure>;

/// Records and how long they hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Records<T> {
    pub(crate) items: Vec<T>,
    pub(crate) ttl: Duration,
}

/// Both families are asked for separately, so that one may fail alone.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) v4: Answer<Ipv4Addr>,
    pub(crate) v6: Answer<Ipv6Addr>,
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    pub(crate) target: String,
    pub(crate) port: u16,
    pub(crate) weight: u16,
    pub(crate) priority: u16,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// DNS says so: there is no such name, or it has no such records.
    Absent(String),
    /// DNS could not be asked, or said something else.
    Failed(ResolveErrorKind, String),
}

impl Failure {
    /// As an error that begins with what was asked.
    pub(crate) fn into_error(self, asked: &str) -> ResolveError {
        let (kind, message) = match self {
            Self::Absent(message) => (ResolveErrorKind::NotFound, message),
            Self::Failed(kind, message) => (kind, message),
        };
        ResolveError::new(kind, format!("{asked}: {message}"))
    }

    /// The same failure with the name it is about.
    pub(crate) fn about(self, name: &str) -> Self {
        match self {
            Self::Absent(message) => Self::Absent(format!("{name}: {message}")),
            Self::Failed(kind, message) => Self::Failed(kind, format!("{name}: {message}")),
        }
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Absent(message) | Self::Failed(_, message) => message,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }
}

impl Addresses {
    /// Whether DNS says that the name has no address at all.
    pub(crate) fn are_absent(&self) -> bool {
        self.v4.as_ref().is_err_and(Failure::is_absent) && self.v6.as_ref().is_err_and(Failure::is_absent)
    }
}
