//! A user's `Discover` as a resolver.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream;
use lb_core::{Endpoint, ResolveError, ResolveErrorKind, ResolveNow, Resolver, ResolverStream, ResolverUpdate, Target};
use tower::discover::{Change, Discover};

/// The scheme of targets that a [`DiscoverResolver`] resolves, with any path: `discover:///orders`.
const SCHEME: &str = "discover";

/// The most changes taken before a set is passed on, so that an endless burst does not starve the channel.
const MAX_BURST: usize = 10_000;

/// Feeds a channel from a [`Discover`], such as a stream of changes written for tower's balancers.
///
/// ```
/// # use std::convert::Infallible;
/// # use lb_tonic::{LbChannel, DiscoverResolver};
/// # use lb_core::{Address, Endpoint};
/// # use tower::discover::Change;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let changes = tokio_stream::iter([Ok::<_, Infallible>(Change::Insert("a", "10.0.0.1:50051".parse::<Address>().unwrap()))]);
/// let resolver = DiscoverResolver::new(changes, |_key, address| Endpoint::new(address));
/// let channel = LbChannel::builder("discover:///orders").resolver(resolver).build().unwrap();
/// # }
/// ```
///
/// Changes that are ready together are passed on as one set. An error of the `Discover` is passed on as one of the resolver, and the
/// set stands for good, because nothing more is read after it; its end likewise. It can be read by one channel at a time; a second one gets an error.
pub struct DiscoverResolver<D: Discover>(Arc<Mutex<Option<Reader<D>>>>);

/// The `Discover` and what it has said so far. Keys need only `Eq`, so the set is a list.
struct Reader<D: Discover> {
    discover: Pin<Box<D>>,
    describe: Describe<D>,
    endpoints: Vec<(D::Key, Endpoint)>,
    /// Whether a channel has yet to hear of the set as it stands.
    news: bool,
    ended: bool,
}

type Describe<D> = Box<dyn FnMut(&<D as Discover>::Key, <D as Discover>::Service) -> Endpoint + Send>;

impl<D> DiscoverResolver<D>
where
    D: Discover + Send + 'static,
    D::Key: Clone + Send,
    D::Error: Into<lb_transport::BoxError>,
{
    /// A resolver fed by `discover`. `describe` says which endpoint a service of it is.
    pub fn new(discover: D, describe: impl FnMut(&D::Key, D::Service) -> Endpoint + Send + 'static) -> Self {
        let reader =
            Reader { discover: Box::pin(discover), describe: Box::new(describe), endpoints: Vec::new(), news: false, ended: false };
        Self(Arc::new(Mutex::new(Some(reader))))
    }
}

impl<D> Reader<D>
where
    D: Discover,
    D::Key: Clone,
    D::Error: Into<lb_transport::BoxError>,
{
    fn change(&mut self, change: Change<D::Key, D::Service>) {
        let (Change::Insert(key, _) | Change::Remove(key)) = &change;
        let key = key.clone();
        self.endpoints.retain(|(known, _)| *known != key);
        if let Change::Insert(_, service) = change {
            let endpoint = (self.describe)(&key, service);
            self.endpoints.push((key, endpoint));
        }
        self.news = true;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ResolverUpdate, ResolveError>>> {
        for _ in 0..MAX_BURST {
            if self.ended {
                break;
            }
            match self.discover.as_mut().poll_discover(cx) {
                Poll::Ready(Some(Ok(change))) => self.change(change),
                Poll::Ready(Some(Err(error))) => {
                    // Nobody says what a Discover does after an error; tower never asks again, and neither do we.
                    self.ended = true;
                    let message = error.into().to_string();
                    return Poll::Ready(Some(Err(ResolveError::new(ResolveErrorKind::Unavailable, message))));
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        if !std::mem::take(&mut self.news) {
            return Poll::Pending;
        }
        // What was left unread by a full burst has to be read next time without being told.
        cx.waker().wake_by_ref();
        let endpoints = self.endpoints.iter().map(|(_, endpoint)| endpoint.clone()).collect();
        Poll::Ready(Some(Ok(ResolverUpdate::new(endpoints))))
    }
}

/// Reads for one channel, and puts everything back for the next when dropped.
struct Lease<D: Discover> {
    reader: Option<Reader<D>>,
    home: Arc<Mutex<Option<Reader<D>>>>,
}

impl<D: Discover> Drop for Lease<D> {
    fn drop(&mut self) {
        *lock(&self.home) = self.reader.take();
    }
}

impl<D> Stream for Lease<D>
where
    D: Discover,
    D::Key: Clone,
    D::Error: Into<lb_transport::BoxError>,
    Reader<D>: Unpin,
{
    type Item = Result<ResolverUpdate, ResolveError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().reader.as_mut().map_or(Poll::Ready(None), |reader| reader.poll(cx))
    }
}

impl<D> Resolver for DiscoverResolver<D>
where
    D: Discover + Send + 'static,
    D::Key: Clone + Send + Unpin,
    D::Error: Into<lb_transport::BoxError>,
{
    fn schemes(&self) -> &[&'static str] {
        &[SCHEME]
    }

    fn validate(&self, _target: &Target) -> Result<(), ResolveError> {
        Ok(())
    }

    fn resolve(&self, _target: &Target, _again: ResolveNow) -> ResolverStream {
        match lock(&self.0).take() {
            Some(mut reader) => {
                reader.news |= !reader.endpoints.is_empty();
                Box::pin(Lease { reader: Some(reader), home: Arc::clone(&self.0) })
            }
            None => {
                let error = ResolveError::new(ResolveErrorKind::Unavailable, "another channel reads this Discover already");
                Box::pin(stream::iter([Err(error)]))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Discover> fmt::Debug for DiscoverResolver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiscoverResolver")
    }
}
