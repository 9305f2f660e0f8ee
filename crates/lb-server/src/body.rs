//! A call from its headers to the end of its response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::call_recorder::CallRecorder;
use crate::layer::Shared;

/// How a call ended. A constant name is made anew wherever it is used; this one is not.
static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A call that counts as in flight until it is dropped or ended.
#[derive(Debug)]
pub(crate) struct Call {
    shared: Arc<Shared>,
    recorder: Option<CallRecorder>,
    /// Others in flight when it came.
    found: u32,
    began: Duration,
    took: Duration,
    ended: bool,
}

impl Call {
    pub(crate) fn begin(shared: Arc<Shared>, recorder: Option<CallRecorder>) -> Self {
        let (found, began) = (shared.load.begin(), shared.load.now());
        Self { shared, recorder, found, began, took: Duration::ZERO, ended: false }
    }

    /// The handler has answered.
    fn answered(&mut self) {
        let now = self.shared.load.now();
        self.took = now.saturating_sub(self.began);
        self.shared.load.answered(self.found, self.took, now);
    }

    /// The call has ended with these trailers, or headers that are trailers.
    fn end(mut self, trailers: &mut HeaderMap) {
        let failed = trailers.get(&STATUS).is_some_and(|status| status != "0");
        let now = self.shared.load.now();
        let count = self.count_out(failed, now);
        let said = self.recorder.as_ref().and_then(CallRecorder::take);
        if said.is_none() && !self.shared.trailers.on(count, self.took) {
            return;
        }
        let mut report = self.shared.load.report_at(now);
        let value = match said {
            None => lb_orca::trailer::encode(&report),
            Some(said) => {
                said.merge_into(&mut report);
                let mut message = Vec::new();
                lb_orca::encode(&report, &mut message);
                lb_orca::encode_request_cost(&said.request_cost, &mut message);
                lb_orca::trailer::value(&message)
            }
        };
        add(trailers, value);
    }

    fn count_out(&mut self, failed: bool, now: Duration) -> u64 {
        self.ended = true;
        self.shared.load.end(failed, now)
    }
}

/// A handler that says it all itself is not contradicted.
fn add(trailers: &mut HeaderMap, value: HeaderValue) {
    trailers.entry(lb_orca::trailer::NAME).or_insert(value);
}

impl Drop for Call {
    /// A call that ends without a status was given up: by the client, or with the connection. It counts, and not as an error.
    fn drop(&mut self) {
        if !self.ended {
            let now = self.shared.load.now();
            self.count_out(false, now);
        }
    }
}

pin_project! {
    /// The future of a call that is measured.
    #[derive(Debug)]
    pub struct LoadReportFuture<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }
}

impl<F> LoadReportFuture<F> {
    pub(crate) fn new(inner: F, call: Option<Call>) -> Self {
        Self { inner, call }
    }
}

impl<F, R, E> Future for LoadReportFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<LoadReportBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let mut call = this.call.take();
        if let Some(call) = &mut call {
            call.answered();
        }
        // A response without messages has its status in the headers.
        if response.headers().contains_key(&STATUS)
            && let Some(call) = call.take()
        {
            call.end(response.headers_mut());
        }
        Poll::Ready(Ok(response.map(|inner| LoadReportBody { inner, call })))
    }
}

pin_project! {
    /// The body of a response that reports load in its trailers.
    #[derive(Debug)]
    pub struct LoadReportBody<R> {
        #[pin]
        inner: R,
        call: Option<Call>,
    }
}

impl<R: Default> Default for LoadReportBody<R> {
    /// An empty body of no call.
    fn default() -> Self {
        Self { inner: R::default(), call: None }
    }
}

impl<R: Body> Body for LoadReportBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.project();
        let mut polled = ready!(this.inner.poll_frame(cx));
        match &mut polled {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut()
                    && let Some(call) = this.call.take()
                {
                    call.end(trailers);
                }
            }
            Some(Err(_)) | None => *this.call = None,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
