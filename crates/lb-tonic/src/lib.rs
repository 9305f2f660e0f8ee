//! A tonic channel that balances.
//!
//! [`LbChannel`] takes a target, resolves it, keeps a connection to each endpoint, and picks one for every call on the caller's
//! own task. It plugs into any tonic generated client in place of tonic's channel.
//!
//! | where | what |
//! |---|---|
//! | [`LbChannelBuilder`] | everything that can be chosen |
//! | [`PickOptions`] | what one call wishes, through an interceptor or its extensions |
//! | [`FillOptions`] | the same from a header, a cookie, a token or an address |
//! | [`PickHandle`] | an endpoint picked without a call, by [`LbChannel::pick`] |
//! | [`PickedEndpoint`] | where a call went, in its response's extensions |
//! | [`SessionConfig`], [`SessionStore`] | calls that belong together go to one endpoint |
//! | [`LimitStats`] | what rate and concurrency limits did, from [`LbChannel::limits`] |
//! | [`observe`] | calls and attempts as they happen, for metrics, traces and logs |
//! | [`CallError`] | why a call failed, behind its status |
//! | [`Subchannel`], [`SocketInfo`] | endpoints and connections looked at closely, from [`LbChannel::subchannels`] |
#![forbid(unsafe_code)]

mod breakers;
mod builder;
mod call;
mod channel;
mod connection_service;
mod deadline;
mod discover;
mod driver;
mod drops;
mod endpoints;
mod error;
mod events;
mod header;
mod inbox;
mod inspect;
pub mod interceptors;
mod levers;
mod limits;
mod load;
pub mod observe;
mod options;
mod pick_failures;
mod pick_handle;
mod picked;
mod policy_choice;
mod queue;
mod repeats;
mod request_limit;
mod resolver_status;
mod resolvers;
mod rules;
mod selection;
mod sessions;
mod shared;
mod snapshot;
mod stats;
#[cfg(feature = "tonic-endpoint")]
mod tonic_connector;
mod transport;

pub use breakers::NoBreaker;
pub use builder::LbChannelBuilder;
pub use call::{Call, ResponseBody};
pub use channel::{LbChannel, WeakChannel};
pub use connection_service::ConnectionService;
pub use discover::{Changes, DiscoverResolver};
pub use drops::DropStats;
pub use endpoints::{EjectionInfo, EndpointInfo, LoadReportInfo};
pub use error::{BuildError, CallError, FailedAttempt, WaitingFor};
pub use events::Events;
pub use inspect::{CallCounts, Subchannel};
pub use interceptors::{Chain, FillOptions, PeerAddress};
pub use limits::LimitStats;
pub use options::PickOptions;
pub use pick_handle::PickHandle;
pub use picked::PickedEndpoint;
pub use policy_choice::PolicyChoice;
pub use request_limit::RequestLimit;
pub use resolver_status::ResolverStatus;
pub use resolvers::ResolverRegistry;
pub use selection::SelectionStats;
pub use sessions::{SessionConfig, SessionCursor, SessionExport, SessionPage, SessionStore, SessionTokens, TokenStats};
pub use stats::{BreakerTotals, ChannelStats, ClientStats, EndpointTotals, HealthCheckerStats, ScalingStatus, SessionTotals};
// What connections say of themselves, for those who look at channels and know no transport.
pub use lb_transport::{SocketInfo, SocketRef, SocketSecurity, next_serial};
#[cfg(feature = "tonic-endpoint")]
pub use tonic_connector::{TonicConnector, TonicTransport};
