//! What every request on a connection has in common: scheme, authority and user agent.

use http::header::{Entry, USER_AGENT};
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

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
        let uri = self.complete_uri(head.uri());
        *head.uri_mut() = uri;
        self.sign(head.headers_mut());
    }

    /// The head of a gRPC request, complete. Takes the headers.
    #[inline]
    pub(super) fn head(&self, uri: &Uri, headers: &mut HeaderMap) -> Request<()> {
        self.sign(headers);
        let mut head = bare(headers);
        *head.uri_mut() = self.complete_uri(uri);
        head
    }

    fn complete_uri(&self, uri: &Uri) -> Uri {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri.scheme().unwrap_or(&self.scheme).clone());
        parts.authority = Some(uri.authority().unwrap_or(&self.authority).clone());
        parts.path_and_query = Some(uri.path_and_query().map_or_else(|| PathAndQuery::from_static("/"), Clone::clone));
        Uri::from_parts(parts).expect("scheme, authority and path are all there")
    }

    /// Says who we are.
    fn sign(&self, headers: &mut HeaderMap) {
        match headers.entry(USER_AGENT) {
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

/// What every gRPC request has, and these headers, which are taken.
#[inline]
pub(super) fn bare(headers: &mut HeaderMap) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    std::mem::swap(head.headers_mut(), headers);
    head
}

fn append(theirs: &HeaderValue, ours: &HeaderValue) -> HeaderValue {
    let both = [theirs.as_bytes(), b" ", ours.as_bytes()].concat();
    HeaderValue::from_bytes(&both).unwrap_or_else(|_| theirs.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            scheme: Scheme::HTTPS,
            authority: Authority::from_static("orders:443"),
            user_agent: HeaderValue::from_static("evenkeel/1"),
        }
    }

    fn head(mut request: Request<()>) -> Request<()> {
        origin().complete(&mut request);
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

    #[test]
    fn a_grpc_head_is_what_a_request_would_have_become() {
        for (uri, agent) in [("/a.B/C", None), ("/a.B/C?x=1", Some("mine/2")), ("http://other/a.B/C", None), ("http://other", None)]
        {
            let mut headers = HeaderMap::new();
            agent.map(|agent| headers.insert(USER_AGENT, HeaderValue::from_static(agent)));
            headers.insert("x-more", HeaderValue::from_static("1"));
            let mut request = Request::post(uri).body(()).unwrap();
            *request.headers_mut() = headers.clone();
            let (expected, origin) = (head(request), origin());
            let made = origin.head(&uri.parse().unwrap(), &mut headers);
            assert_eq!((made.method(), made.uri(), made.version()), (expected.method(), expected.uri(), expected.version()));
            assert_eq!(made.headers(), expected.headers());
            assert!(headers.is_empty());
        }
    }
}
