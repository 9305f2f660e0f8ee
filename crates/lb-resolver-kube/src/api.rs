//! The two requests there are: a list, in pages, and a watch; of slices, or of a ConfigMap.
//!
//! Not kube's own watcher: it reads lines and answers of any size, resumes a watch that ends at once without a pause, and does so for ever
//! where the history is refused before the stream begins. Credentials, TLS and connections are kube's.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use lb_core::ResolveErrorKind;
use tokio::time::{Instant, timeout, timeout_at};

use crate::failure::{Failure, chain};
use crate::known::Known;
use crate::lines::Lines;
use crate::slice::{Labelled, Metadata, Object, Page, Status};
use crate::watch::Watch;

/// Slices per page of a list; kubectl's and client-go's.
const PAGE: usize = 500;

/// More pages than this are no service.
const MOST_PAGES: usize = 64;

/// How much of a refusal is read, and how much of its message is repeated.
const REFUSAL: usize = 64 << 10;
const REPEATED: usize = 500;

/// How a part of an object is asked for, and how large one may be; labels and annotations are at most 256 KiB each.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const NODE: usize = 1 << 20;

/// Which objects to ask for.
pub(crate) struct Selection {
    namespace: String,
    /// With the selector.
    path: String,
    /// As a role names the kind, and what serves it.
    resource: &'static str,
    api: &'static str,
}

impl Selection {
    /// The slices of one service.
    pub(crate) fn slices(namespace: String, service: &str) -> Self {
        let selector = format!("labelSelector=kubernetes.io%2Fservice-name%3D{service}");
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{selector}");
        Self { namespace, path, resource: "endpointslices.discovery.k8s.io", api: "discovery.k8s.io/v1" }
    }

    /// One ConfigMap. Narrowed by name, so that a role may be too.
    pub(crate) fn config_map(namespace: String, name: &str) -> Self {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps?fieldSelector=metadata.name%3D{name}");
        Self { namespace, path, resource: "configmaps", api: "v1" }
    }
}

/// Asks for some objects of one namespace.
pub(crate) struct Api {
    client: Client,
    selection: Selection,
    timeout: Duration,
    max_answer: usize,
}

impl Api {
    pub(crate) fn new(client: Client, selection: Selection, timeout: Duration, max_answer: usize) -> Self {
        Self { client, selection, timeout, max_answer }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.selection.namespace
    }

    /// All slices of a service, and the version from which to watch.
    ///
    /// If the server forgets its state between two pages, everything is asked for at once.
    pub(crate) async fn list(&self) -> Result<(Known, String), Failure> {
        match self.pages(PAGE).await {
            Err(failure) if failure.gone => self.pages(0).await,
            outcome => outcome,
        }
    }

    async fn pages(&self, limit: usize) -> Result<(Known, String), Failure> {
        let (mut known, mut room) = (Known::new(self.max_answer), self.max_answer);
        let mut next = String::new();
        for _ in 0..MOST_PAGES {
            let (page, bytes) = self.page(limit, &next, room).await?;
            room -= bytes;
            let slices = page.items.unwrap_or_default();
            let each = bytes / slices.len().max(1);
            slices.into_iter().try_for_each(|slice| known.put(slice, each))?;
            match page.metadata.next.filter(|token| !token.is_empty()) {
                None => return Ok((known, page.metadata.resource_version)),
                Some(token) => next = encode(&token),
            }
        }
        Err(Failure::malformed(format!("the list has more than {MOST_PAGES} pages")))
    }

    /// All objects at once, and the version from which to watch.
    pub(crate) async fn everything<T: Object>(&self) -> Result<(Vec<T>, String), Failure> {
        let (page, _) = self.page::<T>(0, "", self.max_answer).await?;
        Ok((page.items.unwrap_or_default(), page.metadata.resource_version))
    }

    /// One page, and its size, which is at most `room`.
    async fn page<T: Object>(&self, limit: usize, next: &str, room: usize) -> Result<(Page<T>, usize), Failure> {
        let until = Instant::now() + self.timeout;
        let response = self.send("list", &format!("&limit={limit}&continue={next}")).await?;
        let silence = |_| Failure::unavailable(format!("the list was not complete within {:?}", self.timeout));
        let whole = timeout_at(until, Lines::new(response.into_body(), room).whole()).await.map_err(silence)??;
        let page =
            serde_json::from_slice(&whole).map_err(|error| Failure::malformed(format!("the list cannot be read: {error}")))?;
        Ok((page, whole.len()))
    }

    /// What changes after `version`, for `seconds`.
    pub(crate) async fn watch(&self, version: &str, seconds: u64) -> Result<Watch, Failure> {
        let query = format!("&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}", encode(version));
        let response = self.send("watch", &query).await?;
        Ok(Watch::new(response.into_body(), version.to_owned(), Duration::from_secs(seconds), self.max_answer))
    }

    /// The labels of a node, and nothing else of it.
    pub(crate) async fn node(&self, name: &str) -> Result<Metadata, Failure> {
        let path = format!("/api/v1/nodes/{}", encode(name));
        let response = match self.ask(&path, METADATA_ONLY).await? {
            response if response.status() == StatusCode::OK => response,
            response if response.status() == StatusCode::FORBIDDEN => {
                return Err(Failure::new(ResolveErrorKind::Refused, "403: needs get on nodes".to_owned()));
            }
            response => return Err(Failure::unavailable(format!("node {name}: {}", response.status()))),
        };
        let silence = |_| Failure::unavailable(format!("node {name} was not there within {:?}", self.timeout));
        let whole = timeout(self.timeout, Lines::new(response.into_body(), NODE).whole()).await.map_err(silence)??;
        let read: Labelled = serde_json::from_slice(&whole).map_err(|error| Failure::malformed(format!("node {name}: {error}")))?;
        Ok(read.metadata)
    }

    async fn send(&self, verb: &str, query: &str) -> Result<Response<Body>, Failure> {
        let response = self.ask(&format!("{}{query}", self.selection.path), "application/json").await?;
        match response.status() {
            StatusCode::OK if is_json(response.headers()) => Ok(response),
            StatusCode::OK => Err(Failure::malformed("the answer is not JSON: this is not an API server")),
            _ => Err(self.refusal(verb, response).await),
        }
    }

    async fn ask(&self, path: &str, accept: &str) -> Result<Response<Body>, Failure> {
        let request = Request::get(path).header(ACCEPT, accept).body(Body::empty());
        let request = request.map_err(|error| Failure::malformed(format!("the server's words make no request: {error}")))?;
        let silence = |_| Failure::unavailable(format!("the API server did not answer within {:?}", self.timeout));
        timeout(self.timeout, self.client.send(request)).await.map_err(silence)?.map_err(|error| unreachable(&error))
    }

    async fn refusal(&self, verb: &str, response: Response<Body>) -> Failure {
        let (code, headers) = (response.status(), response.headers().clone());
        let body = timeout(self.timeout, Lines::new(response.into_body(), REFUSAL).beginning()).await.unwrap_or_default();
        let status: Status = serde_json::from_slice(&body).unwrap_or_default();
        let said = if status.message.is_empty() { String::new() } else { format!(": {:.REPEATED$}", status.message) };
        match code {
            StatusCode::UNAUTHORIZED => {
                Failure::new(ResolveErrorKind::Refused, format!("401: the API server does not accept the credentials{said}"))
            }
            StatusCode::FORBIDDEN => Failure::new(ResolveErrorKind::Refused, self.rights(verb, &said)),
            StatusCode::GONE => Failure::gone(format!("410: the history asked for is gone{said}")),
            StatusCode::NOT_FOUND => Failure::malformed(format!("404: this server does not serve {}{said}", self.selection.api)),
            _ if code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS => {
                let pause = header(&headers, RETRY_AFTER).and_then(|text| text.parse().ok());
                Failure {
                    retry_after: pause.map(Duration::from_secs),
                    ..Failure::unavailable(format!("the API server answers {code}{said}"))
                }
            }
            _ if code.is_redirection() => {
                let to = header(&headers, LOCATION).unwrap_or_default();
                Failure::malformed(format!("the API server answers {code} to {to:?}, and redirects are not followed"))
            }
            _ => Failure::malformed(format!("the API server answers {code}{said}")),
        }
    }

    fn rights(&self, verb: &str, said: &str) -> String {
        let Selection { namespace, resource, .. } = &self.selection;
        format!("403: needs get, list, watch on {resource} in namespace {namespace}, and may not {verb}{said}")
    }
}

fn unreachable(error: &kube::Error) -> Failure {
    let kind = if matches!(error, kube::Error::Auth(_)) { ResolveErrorKind::Refused } else { ResolveErrorKind::Unavailable };
    Failure::new(kind, format!("the API server cannot be reached: {}", chain(error)))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    header(headers, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"))
}

/// For a query: what is not plainly safe is percent-encoded.
fn encode(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests;
