//! One call: from the request to the last trailer.

mod body;
mod claim;
mod future;
mod opening;
mod origin;
mod pump;
mod send;
mod transport;

pub use body::H2Body;
pub(crate) use body::LAZY_WINDOW;
pub use future::ResponseFuture;
pub(crate) use origin::Origin;
pub use send::Payload;
pub use transport::H2Transport;
