//! Client-side load balancing for gRPC.
//!
//! [`LbChannel::builder`] takes a target and makes a channel that any tonic generated client takes in place of tonic's own. Behind
//! it a resolver watches the target, every endpoint has a connection, and a policy picks one for each call.
//!
//! ```no_run
//! # async fn example() -> Result<(), evenkeel::BuildError> {
//! use evenkeel::LbChannel;
//!
//! let channel = LbChannel::builder("dns:///orders.internal:50051").policy("least_request").build()?;
//! // let mut client = OrdersClient::new(channel.clone());
//! println!("{}", channel.state());
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | make a channel | [`LbChannel`], [`LbChannelBuilder`] |
//! | choose a policy, or bring your own | [`PolicyChoice`], [`policies`], [`Policy`], [`Picker`] |
//! | say what suits which kind of work | [`AffinityRules`], [`Experience`] |
//! | learn what to do about load: migrations, a queue's order, scaling | [`advice`] |
//! | say what one call wishes | [`PickOptions`] |
//! | send failed calls again, or slow ones several times at once | [`retry`], [`LbChannelBuilder::retry`], [`LbChannelBuilder::hedging`] |
//! | leave endpoints alone that fail, or follow a circuit breaker elsewhere | [`breaker`], [`LbChannelBuilder::circuit_breaker`], [`LbChannelBuilder::remote_breaker`] |
//! | limit calls a second, at once, or in a flood | [`limits`], [`LbChannelBuilder::rate_limits`], [`LbChannelBuilder::concurrency_limit`] |
//! | drop a share of the calls in an overload | [`drops`], [`LbChannelBuilder::drop_overloads`] |
//! | send the calls of a session to one endpoint | [`SessionConfig`], [`SessionStore`], [`SessionTokens`], [`sessions`] |
//! | see where a call went, or why it failed | [`PickedEndpoint`], [`CallError`] |
//! | see what the channel does | [`LbChannel::endpoints`], [`LbChannel::subscribe`], [`LbEvent`] |
//! | look and steer by HTTP while it runs | `admin`, behind the features `admin` and `channelz` |
//! | configure it all by files, the environment and code, and change it at run time | `config`, behind the feature of that name |
//! | export metrics | `telemetry`, behind the features `otel` and `prometheus`; [`LbChannel::stats`] for a look of your own |
//! | have other programs told of events, by signed webhooks | `hooks`, behind the feature of that name |
//! | trace calls over servers, log them | `telemetry::trace`, behind the features `otel` and `otel-trace` |
//! | say where endpoints are | [`resolver`], [`Resolver`], [`DiscoverResolver`] |
//! | check whether they serve | [`health`] |
//! | set TLS, keepalive, windows | [`transport`] |
//! | report a server's load, and drain it | `server`, behind the feature of that name |
//! | drive the decisions without IO | [`machine`] |
//!
//! The front page of the repository has the table of features and gRFCs; `docs/` has the rest.
#![forbid(unsafe_code)]

pub use lb_core::*;
pub use lb_tonic::*;

#[cfg(any(feature = "admin", feature = "channelz"))]
pub use lb_admin as admin;
#[cfg(feature = "config")]
pub use lb_config as config;
pub use lb_health as health;
#[cfg(feature = "hooks")]
pub use lb_hooks as hooks;
#[cfg(feature = "consul")]
pub use lb_resolver_consul as consul;
#[cfg(feature = "etcd")]
pub use lb_resolver_etcd as etcd;
#[cfg(feature = "kubernetes")]
pub use lb_resolver_kube as kubernetes;
#[cfg(feature = "server")]
pub use lb_server as server;
#[cfg(feature = "otel")]
pub use lb_telemetry as telemetry;
pub use lb_transport as transport;

/// The resolvers that come with the channel, to configure them or to feed one from the program, and resolvers made of others.
pub mod resolver {
    pub use lb_resolver_compose::{CachedResolver, FallbackResolver, FilteredResolver, MergedResolver, Source};
    #[cfg(feature = "consul")]
    pub use lb_resolver_consul::{ConsulConfig, ConsulResolver};
    #[cfg(feature = "dns")]
    pub use lb_resolver_dns::{DnsConfig, DnsResolver};
    #[cfg(feature = "etcd")]
    pub use lb_resolver_etcd::{EtcdConfig, EtcdResolver, EtcdTls};
    #[cfg(feature = "kubernetes")]
    pub use lb_resolver_kube::{KubernetesConfig, KubernetesResolver};
    pub use lb_resolver_static::{FileResolver, ManualHandle, ManualResolver, StaticResolver};
}

/// For servers: being found by the clients of a registry. Each registers on start, keeps itself registered, and is taken out on
/// `shutdown` and, as far as the runtime still turns, on drop.
#[cfg(any(feature = "consul", feature = "etcd"))]
pub mod register {
    #[cfg(feature = "consul")]
    pub use lb_resolver_consul::{ConsulCheck, ConsulRegistration, ConsulService, RegistrationError};
    #[cfg(feature = "etcd")]
    pub use lb_resolver_etcd::{EtcdRegisterError, EtcdRegistrar, EtcdRegistration, RegistrationState};
}

/// The code of the front page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
