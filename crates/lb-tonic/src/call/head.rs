//! What a call is, apart from its body and where it goes.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};
use lb_core::{PickHints, Slot};
use smallvec::SmallVec;

use crate::options::PickOptions;
use crate::snapshot::Connected;

use super::request_body::RequestBody;

/// Path, metadata, wishes and history of a call.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The request's own, kept for the memory they have.
    pub(crate) extensions: Extensions,
    /// `None` is the common case and costs nothing.
    pub(crate) hints: Option<Box<PickHints>>,
    /// Where earlier attempts went.
    pub(crate) tried: SmallVec<[Slot; 2]>,
    /// The connection that took the last attempt no more; it is gone, whatever the newest snapshot says.
    pub(crate) unusable: Option<Arc<Connected>>,
    /// Whether a server has refused the call unprocessed; it gets one more chance, not two.
    pub(crate) was_refused: bool,
    pub(crate) attempts: u32,
}

impl Head {
    pub(crate) fn new<B>(request: Request<B>) -> (Self, B) {
        let (mut parts, body) = request.into_parts();
        let hints = parts.extensions.remove::<PickOptions>().map(|options| Box::new(options.hints));
        let head = Self {
            uri: parts.uri,
            headers: parts.headers,
            extensions: parts.extensions,
            hints,
            tried: SmallVec::new(),
            unusable: None,
            was_refused: false,
            attempts: 0,
        };
        (head, body)
    }

    /// The request of one attempt. The headers are copied, because the attempt may not be the last.
    pub(crate) fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request
    }

    pub(crate) fn is_unusable(&self, connected: &Arc<Connected>) -> bool {
        self.unusable.as_ref().is_some_and(|unusable| Arc::ptr_eq(unusable, connected))
    }

    pub(crate) fn wait_for_ready(&self, default: bool) -> bool {
        self.hints.as_ref().and_then(|hints| hints.wait_for_ready).unwrap_or(default)
    }
}
