//! Errors as data: problem documents (RFC 9457).

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::audit::Refused;

/// The type of content that marks a problem document.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// What went wrong with a request, as its sender is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The status code again.
    status: u16,
    /// The status code in words.
    title: &'static str,
    /// What is wrong with this request.
    detail: Cow<'static, str>,
    /// What goes with this status.
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { status: status.as_u16(), title, detail: detail.into(), headers: Vec::new() }
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Text and numbers always are JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(PROBLEM)), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        let mut response = (self.status(), headers, body).into_response();
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(Refused(self.detail.into_owned()));
        response
    }
}
