//! Configuration of channels: from JSON, YAML, TOML, the environment and code, in layers, and reloaded while they run.
//!
//! A [`Config`] says of each service where its endpoints are, which policy picks, and everything else that an
//! [`LbChannelBuilder`](lb_tonic::LbChannelBuilder) can be told. [`Sources`] says where it comes from and what counts before what;
//! [`Channels`] builds the channels and lets a new configuration count while they run.
//!
//! ```
//! use lb_config::Config;
//! use serde_json::json;
//!
//! let config = Config::sources()
//!     .defaults(json!({"policy": "least_request", "healthCheck": {"service": "shop.v1.Orders"}}))
//!     .environment([("ORDERS_HOSTS", "10.0.0.1:50051,10.0.0.2:50051"), ("LB_TIMEOUT", "1m30s")])
//!     .load()?;
//! let orders = config.service("orders").expect("ORDERS_HOSTS makes it");
//! assert_eq!((&*orders.policy, orders.calls.timeout.unwrap().as_secs()), ("least_request", 90));
//! assert_eq!(config.explain().find("timeout").unwrap().source.as_deref(), Some("environment LB_TIMEOUT"));
//! # Ok::<(), lb_config::Problems>(())
//! ```
//!
//! # What it promises
//! - What is wrong is told whole and at once: every [`Problem`] names the source, the path, the value and what is allowed, and of a name
//!   nobody knows the nearest that somebody does. Up to 100 are told.
//! - A configuration counts whole or not at all, when it is loaded and when it is reloaded.
//! - Secrets are never shown: not in errors, not by [`Config::explain`], [`Config::to_json`] or `Debug`.
//! - Nobody reads the environment of the process but who passes it in.
//!
//! # Why so
//! One table has every key ([`keys`]); the checks, the environment, the [`schema`], the documentation and the explanation are made from it,
//! so that they agree. What several keys say together is judged by the rooms they are for, which have read JSON before this crate was: it
//! hands each its part.
//!
//! # Bounds
//! Files up to 8 MiB, 1000 services, names up to 200 bytes; what an error shows of a value is 80 characters. The
//! call path knows nothing of all this.
//!
//! # When not
//! A program that builds one channel with settings of its own needs no layers: use the builder.
#![forbid(unsafe_code)]

mod build;
mod channels;
mod config;
mod diff;
pub mod document;
mod environment;
mod explain;
mod format;
pub mod keys;
mod layer;
mod place;
mod preset;
mod problem;
mod schema;
mod settings;
mod sources;
mod suggest;
mod view;

pub use build::ConfigureError;
pub use channels::{Channels, Reload, Watching};
pub use config::Config;
pub use diff::{Changed, Diff};
pub use explain::{Explained, Explanation};
pub use format::Format;
pub use problem::{Problem, Problems};
pub use schema::schema;
pub use settings::{
    Backend, CallSettings, ConnectionSettings, ConsulSettings, DnsSettings, EtcdSettings, FailureSettings, FileSettings,
    HealthSettings, KubernetesSettings, LoadSettings, MetricsSettings, RegistryTls, ServiceSettings, SessionMode, SessionSettings,
    Source, TlsRoots, TlsSettings, TokenSettings, TraceHeaders, TracingSettings, WebhookSettings,
};
pub use sources::Sources;
