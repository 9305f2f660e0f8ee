//! What every request on a connection has in common: scheme, authority and user agent.

use http::header::{Entry, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version};

/// Completes request heads that have only a path.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    pub(crate) user_agent: HeaderValue,
}

impl Origin {
    /// Makes it the head h2 sends. A scheme and authority in the request are kept; our user agent is appended to the request's own.
    pub(super) fn complete(&self, head: &mut Request<()>) {
        *head.version_mut() = Version::HTTP_2;
        let mut uri = std::mem::take(head.uri_mut()).into_parts();
        uri.scheme.get_or_insert_with(|| self.scheme.clone());
        uri.authority.get_or_insert_with(|| self.authority.clone());
        uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *head.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path are all there");
        match head.headers_mut().entry(USER_AGENT) {
            Entry::Vacant(none) => {
                none.insert(self.user_agent.clone());
            }
            Entry::Occupied(mut theirs) => {
                let both = append(theirs.get(), &self.user_agent);
                theirs.insert(both);
            }
        }
    }
}

fn append(theirs: &HeaderValue, ours: &HeaderValue) -> HeaderValue {
    let both = [theirs.as_bytes(), b" ", ours.as_bytes()].concat();
    HeaderValue::from_bytes(&both).unwrap_or_else(|_| theirs.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(mut request: Request<()>) -> Request<()> {
        let origin = Origin {
            scheme: Scheme::HTTPS,
            authority: Authority::from_static("orders:443"),
            user_agent: HeaderValue::from_static("evenkeel/1"),
        };
        origin.complete(&mut request);
        request
    }

    #[test]
    fn completes_what_is_missing_and_keeps_what_is_there() {
        let bare = head(Request::post("/a.B/C").body(()).unwrap());
        assert_eq!(bare.uri(), "https://orders:443/a.B/C");
        assert_eq!(bare.headers()[USER_AGENT], "evenkeel/1");
        let own = head(Request::post("http://other/a.B/C").header(USER_AGENT, "mine/2").body(()).unwrap());
        assert_eq!(own.uri(), "http://other/a.B/C");
        assert_eq!(own.headers()[USER_AGENT], "mine/2 evenkeel/1");
        assert_eq!(own.version(), Version::HTTP_2);
    }
}
