//! Reports a server sends by itself, on one stream per READY connection for as long as a policy wants them.
//!
//! ```text
//!            ┌──────────── period changed ───────────┐
//!            v                                       │
//! Off <──> Open ──────────────> Listening ───────────┤
//!            ^                      │ ended, OK too
//!            └── backoff, or at once if it brought a report
//!                                   │ UNIMPLEMENTED
//!                                   v
//!                            nothing more on this connection (one error in the log)
//! ```
//!
//! The stream is opened again only when the period is another one. A period that changes while a retry is waited for is used at the
//! retry, which comes no sooner.

use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream::{self, AbortHandle, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::uri::PathAndQuery;
use lb_core::LoadReport;
use lb_orca::{OrcaLoadReport, OrcaLoadReportRequest};
use tokio::sync::watch;
use tokio::task::coop;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::{MAX_MESSAGE, Readers, Subject};
use crate::connection_service::ConnectionService;

/// The reports of one connection; end when dropped.
#[derive(Debug)]
pub(crate) struct OutOfBand {
    period: watch::Sender<Option<Duration>>,
    abort: AbortHandle,
}

impl OutOfBand {
    /// Reports nobody wants yet. The stream yields nothing; it must be polled for reports to come.
    pub(crate) fn new<T: Send + 'static>(
        readers: Readers,
        subject: Subject,
        connection: ConnectionService,
    ) -> (Self, BoxStream<'static, T>) {
        let (period, wanted) = watch::channel(None);
        let pace = readers.pace(&subject);
        let listener = Listener { readers, subject, connection, heard: false };
        let silent = listener.run(wanted, pace).into_stream().filter_map(|()| ready(None));
        let (silent, abort) = stream::abortable(silent);
        (Self { period, abort }, silent.boxed())
    }

    /// How often reports are wanted; `None` not at all. The same again changes nothing.
    pub(crate) fn want(&self, period: Option<Duration>) {
        self.period.send_if_modified(|known| std::mem::replace(known, period) != period);
    }
}

impl Drop for OutOfBand {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

struct Listener {
    readers: Readers,
    subject: Subject,
    connection: ConnectionService,
    /// Whether the present stream brought a report.
    heard: bool,
}

impl Listener {
    async fn run(mut self, mut wanted: watch::Receiver<Option<Duration>>, mut pace: super::pace::Pace) {
        while let Ok(period) = wanted.wait_for(Option::is_some).await.map(|period| *period) {
            let end = tokio::select! {
                end = self.listen(period.unwrap_or_default()) => end,
                _ = wanted.changed() => continue,
            };
            if end.code() == Code::Unimplemented {
                tracing::error!(endpoint = %self.subject.endpoint.key(), "the server does not report its load out of band");
                return;
            }
            tracing::debug!(endpoint = %self.subject.endpoint.key(), status = %end, "load reports out of band have ended");
            pace.wait(self.heard).await;
        }
    }

    /// Takes reports until there are no more.
    async fn listen(&mut self, period: Duration) -> Status {
        self.heard = false;
        let mut grpc = Grpc::new(self.connection.clone()).max_decoding_message_size(MAX_MESSAGE);
        let request = Request::new(OrcaLoadReportRequest::every(period));
        let codec = ProstCodec::<OrcaLoadReportRequest, OrcaLoadReport>::default();
        let opened = grpc.server_streaming(request, PathAndQuery::from_static(lb_orca::OUT_OF_BAND), codec).await;
        let mut reports = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        };
        loop {
            match reports.message().await {
                Ok(Some(report)) => {
                    self.heard = true;
                    self.readers.tell(&self.subject, &LoadReport::from(&report), false);
                }
                Ok(None) => return Status::ok("the server closed the stream"),
                Err(status) => return status,
            }
            // A server that sends without a pause must not keep its channel from everything else.
            coop::consume_budget().await;
        }
    }
}
