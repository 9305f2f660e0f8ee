//! One call: from the request to the last trailer.

mod body;
mod future;
mod opening;
mod origin;
mod pump;
mod transport;

pub use body::H2Body;
pub(crate) use body::LAZY_WINDOW;
pub use future::ResponseFuture;
pub(crate) use origin::Origin;
pub use transport::H2Transport;
