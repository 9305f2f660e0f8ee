//! The answer to a change.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use lb_tonic::LbChannel;
use serde_json::Value;
use tokio::time::timeout;

use super::answer;
use crate::audit::Trail;
use crate::etag::Tag;

/// How long a change is waited for, so that most answers can say that it is done. A channel's own task takes one within microseconds; a
/// policy that has to connect first takes longer, and is answered with 202.
const SOON: Duration = Duration::from_millis(500);

/// What a change came to.
#[derive(Debug)]
pub(super) struct Changed {
    /// Whether it has taken effect.
    pub(super) done: bool,
    /// What is so now.
    pub(super) now: Value,
    /// The tag of what was changed, if it has one.
    pub(super) tag: Option<Tag>,
    /// For the audit line.
    pub(super) trail: Trail,
}

impl Changed {
    /// A change that has taken effect.
    pub(super) fn done(now: Value, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { done: true, now, tag: None, trail: Trail { from: from.into(), to: to.into() } }
    }
}

impl IntoResponse for Changed {
    fn into_response(self) -> Response {
        let mut response = answer(&self.now);
        *response.status_mut() = if self.done { StatusCode::OK } else { StatusCode::ACCEPTED };
        response.headers_mut().extend(self.tag.and_then(|tag| tag.header()));
        response.extensions_mut().insert(self.trail);
        response
    }
}

/// Makes a change and waits until it shows, not for long; whether it does. One that is refused is not waited for.
pub(super) async fn until<E>(
    channel: &LbChannel,
    change: impl FnOnce(&LbChannel) -> Result<(), E>,
    shows: impl Fn(&LbChannel) -> bool,
) -> Result<bool, E> {
    // Subscribed before, so that nothing happens unseen.
    let mut events = channel.subscribe();
    change(channel)?;
    let seen = async {
        while !shows(channel) {
            if events.next().await.is_none() {
                return false;
            }
        }
        true
    };
    Ok(timeout(SOON, seen).await.unwrap_or(false))
}
