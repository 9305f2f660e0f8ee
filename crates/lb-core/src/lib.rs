//! The decisions of client-side gRPC load balancing, without any IO.
//!
//! This crate knows nothing of tokio, tonic, HTTP/2 or clocks. Everything in it is a value or a deterministic state machine:
//! time and entropy come in as arguments, effects go out as values. The same code runs under real channels, in the policy
//! laboratory and in tests on simulated time.
#![forbid(unsafe_code)]

mod address;
pub mod advice;
mod affinity;
mod attributes;
mod backoff;
pub mod breaker;
pub mod concurrency;
mod connectivity;
pub mod drops;
mod endpoint;
mod entropy;
mod event;
mod feedback;
pub mod gate;
mod health;
mod hints;
pub mod human;
pub mod limits;
mod load;
pub mod machine;
mod observer;
mod pick;
pub mod policies;
mod policy;
pub mod queue;
pub mod recovery;
mod registry;
mod resolver;
mod resolver_config;
pub mod retry;
mod scratch;
pub mod selector;
pub mod service_config;
pub mod sessions;
mod share;
mod slot;
mod snapshot;
pub mod stages;
mod stats;
mod target;
mod trigger;
pub mod wishes;

pub use address::{Address, AddressError, AddressFamily};
pub use affinity::{AffinityRule, AffinityRules, Experience, KindOutcome};
pub use attributes::{Attributes, Locality, REGISTRY_SHARE, REGISTRY_STATE, RegistryHealth, RegistryState};
pub use backoff::{Attempt, Backoff, BackoffConfig};
pub use concurrency::ConcurrencyLimit;
pub use connectivity::ConnectivityState;
pub use endpoint::{Endpoint, EndpointKey, NoAddresses};
pub use entropy::Entropy;
pub use event::{LbEvent, Severity};
pub use feedback::{Done, Feedback, Reported};
pub use gate::{Gate, Gatekeeper};
pub use health::{Health, HealthCheck, HealthStream, HealthSubject, ServingStatus};
pub use hints::{DEFAULT_LOAD_THRESHOLD, PickHints};
pub use load::{LoadReport, LoadReports};
pub use machine::Machine;
pub use observer::{ChannelFacts, Measurement, Observer, ScheduleWeights, SecurityLevel};
pub use pick::{Always, PickArgs, PickError, PickResult, Picker, Score};
pub use policy::{ConfigError, LbState, Plan, Policy, PolicyBuilder, Stage, SubchannelView};
pub use registry::PolicyRegistry;
pub use resolver::{ResolveError, ResolveErrorKind, ResolveNow, Resolver, ResolverStream, ResolverUpdate, ServiceConfigUpdate};
pub use resolver_config::{ConfiguredStream, ServiceConfigStream};
pub use scratch::{Scratch, Sequence, Turns};
pub use selector::Selector;
pub use slot::Slot;
pub use snapshot::{NamedPicker, Row, Snapshot};
pub use stats::{CheckCounts, EndpointStats, History, Outcome, Performance, Quantiles};
pub use target::{Target, TargetError, TargetErrorKind};
pub use trigger::{Trigger, Triggered};
pub use wishes::{Choice, Explained, Misfit, Unfit};
