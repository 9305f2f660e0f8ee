//! Where a call went.

use std::sync::Arc;

use lb_core::{Address, Endpoint};

use crate::snapshot::Connected;

/// The endpoint that answered a call, in the extensions of its response.
///
/// Every call of a generated client has it. A request without any extension (made by hand, without tonic's `GrpcMethod` and
/// without [`PickOptions`](crate::PickOptions)) does not, because there is no map to put it in without allocating one.
///
/// ```
/// # use lb_tonic::PickedEndpoint;
/// fn log<T>(response: &tonic::Response<T>) {
///     if let Some(picked) = response.extensions().get::<PickedEndpoint>() {
///         println!("{} answered at attempt {}", picked.endpoint(), picked.attempts());
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct PickedEndpoint {
    connected: Arc<Connected>,
    attempts: u32,
}

impl PickedEndpoint {
    pub(crate) fn new(connected: Arc<Connected>, attempts: u32) -> Self {
        Self { connected, attempts }
    }

    /// The endpoint, as the resolver listed it when the call was picked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.connected.endpoint
    }

    /// Which of its addresses is connected.
    pub fn address(&self) -> &Address {
        &self.connected.address
    }

    /// How many attempts the call took, this one included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}
