//! A server on loopback and a client that reads raw trailers.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use lb_core::LoadReport;
use lb_server::{LoadRecorder, LoadReportLayer, OpenRcaService, ProbeService};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};

/// Far more than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A running server; ends when dropped.
pub(crate) struct Running {
    pub(crate) load: LoadRecorder,
    pub(crate) channel: Channel,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// An echo server behind this layer, with both services of the crate. `touch` sees every request of the echo service.
    pub(crate) async fn start(
        load: LoadRecorder,
        layer: LoadReportLayer,
        touch: impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static,
    ) -> Self {
        let (_, service) = EchoServer::builder().service();
        let (listener, addr) = listener().await;
        let router = Server::builder()
            .layer(layer)
            .add_service(tonic::service::interceptor::InterceptedService::new(service, touch))
            .add_service(OpenRcaService::new(load.clone()).with_min_interval(Duration::from_millis(1)).unwrap())
            .add_service(ProbeService::new(load.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let task = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
        Self { load, channel: channel(addr), task }
    }

    pub(crate) fn client(&self) -> EchoClient<Channel> {
        EchoClient::new(self.channel.clone())
    }

    /// The report of one unary call.
    pub(crate) async fn report(&self, request: EchoRequest) -> Option<LoadReport> {
        let metadata = match soon("a unary call", self.client().unary(request)).await {
            Ok(response) => response.metadata().clone(),
            Err(status) => status.metadata().clone(),
        };
        report(&metadata)
    }
}

pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

pub(crate) fn channel(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}")).unwrap().connect_lazy()
}

/// The report in headers or trailers; tonic puts the trailers of unary calls among the metadata.
pub(crate) fn report(metadata: &MetadataMap) -> Option<LoadReport> {
    lb_orca::trailer::read(&metadata.clone().into_headers())
}
