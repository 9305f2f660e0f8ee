//! Looking at channels and steering them while they run.
//!
//! A program keeps its channels under names in [`Services`], which does not keep them alive, and offers them to those who run it: by HTTP
//! with `Admin` (feature `http`), and by gRPC's channelz (feature `channelz`).
#![cfg_attr(
    feature = "http",
    doc = r#"
```
# #[tokio::main(flavor = "current_thread")]
# async fn main() -> Result<(), Box<dyn std::error::Error>> {
use lb_admin::Admin;
use lb_tonic::LbChannel;

let orders = LbChannel::builder("static:///10.0.0.1:50051,10.0.0.2:50051").build()?;
// On loopback, at a port the system chooses; no token is asked for there.
let admin = Admin::builder().service("orders", &orders).serve().await?;
println!("http://{}/api/v1/loadbalancer/stats", admin.local_addr());
admin.stop().await;
# Ok(())
# }
```
"#
)]
#![forbid(unsafe_code)]

#[cfg(feature = "http")]
mod access;
#[cfg(feature = "http")]
mod admin;
#[cfg(feature = "http")]
mod api;
#[cfg(feature = "http")]
mod app;
#[cfg(feature = "http")]
mod audit;
#[cfg(feature = "channelz")]
pub mod channelz;
#[cfg(feature = "http")]
mod config;
#[cfg(all(feature = "http", feature = "config"))]
mod configured;
#[cfg(feature = "http")]
mod dashboard;
#[cfg(feature = "http")]
mod error;
#[cfg(feature = "http")]
mod etag;
#[cfg(feature = "http")]
mod limits;
#[cfg(feature = "http")]
mod problem;
#[cfg(feature = "http")]
mod server;
mod services;
#[cfg(feature = "http")]
mod token;

#[cfg(feature = "http")]
pub use admin::{Admin, AdminBuilder};
#[cfg(feature = "http")]
pub use config::{ConfigRefusal, ConfigSource};
#[cfg(feature = "http")]
pub use error::AdminError;
#[cfg(feature = "http")]
pub use limits::AdminLimits;
pub use services::Services;
#[cfg(feature = "http")]
pub use token::{AdminToken, Role, TokenError};
