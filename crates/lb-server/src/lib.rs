//! What a gRPC server can do for the clients that balance over it: say how loaded it is, and leave in good order.
//!
//! A client sees its own calls only. With a thousand clients each sees a thousandth, and what every one of them thinks balanced is not.
//! The server knows: how many calls are in flight from everybody, and how long they take at that many. A [`LoadRecorder`] holds what
//! is known, and there are three ways to the clients, all of them ORCA or built on it, each on its own optional:
//!
//! | | costs | fresh | for |
//! |---|---|---|---|
//! | [`LoadReportLayer`]: a trailer on responses | some 2 µs for a response that has it, both sides together | as of the last call | everything; it also measures |
//! | [`OpenRcaService`]: a stream per connection | nothing between reports | 30 s, or less if you allow it | slow signals, clients with few calls |
//! | [`ProbeService`]: an answer per question | two small messages | as of now | the policy `prequal` |
//!
//! ```no_run
//! use lb_server::{Drain, LoadRecorder, LoadReportLayer, OpenRcaService, ProbeService};
//! use tonic::transport::Server;
//!
//! # async fn example(address: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let (reporter, health) = tonic_health::server::health_reporter();
//! let load = LoadRecorder::new();
//! let router = Server::builder()
//!     .layer(LoadReportLayer::new(load.clone()))
//!     .add_service(OpenRcaService::new(load.clone()))
//!     .add_service(ProbeService::new(load.clone()))
//!     .add_service(health);
//! // .add_service(OrdersServer::new(orders))
//! load.set_application_utilization(0.3)?;
//!
//! let drain = Drain::new(load).health(reporter, ["orders.v1.Orders"]);
//! let interrupted = async { drop(tokio::signal::ctrl_c().await) };
//! drain.serve(interrupted, |shutdown| router.serve_with_shutdown(address, shutdown)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! When not: a server behind a proxy that ends the connection reports to that proxy.
//!
//! Source: gRFC A51; Prequal (NSDI 2024) for what is measured.
#![forbid(unsafe_code)]

mod body;
mod call_recorder;
mod drain;
mod grpc;
mod latency;
mod layer;
mod out_of_band;
mod probe;
mod rates;
mod recorder;
mod trailers;
mod values;

pub use body::{LoadReportBody, LoadReportFuture};
pub use call_recorder::CallRecorder;
pub use drain::{Drain, Drained, Shutdown};
pub use layer::{LoadReportLayer, LoadReportService};
pub use out_of_band::OpenRcaService;
pub use probe::ProbeService;
pub use recorder::LoadRecorder;
pub use trailers::Trailers;
