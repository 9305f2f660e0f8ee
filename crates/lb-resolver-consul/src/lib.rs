//! A `consul:` resolver for gRPC load balancing, and registration for servers.
//!
//! `consul:///orders` becomes one endpoint per entry of the service `orders`, watched by blocking queries: a change shows as soon as
//! Consul knows of it. What sets it apart:
//!
//! - **Consul is never the reason that a working set is lost.** An agent that is gone, hangs, has no leader, refuses, or answers
//!   nonsense is an error, after which the channel keeps what it has; so is, unless
//!   [asked otherwise](ConsulConfig::with_clear_when_empty), the word that there is no such service, because a registry that was wiped
//!   or has just started says the same.
//! - **An empty answer is looked into.** Consul answers 200 and an empty list where there is nothing, and also where the token may
//!   not see it. The first is [`NotFound`](lb_core::ResolveErrorKind::NotFound), the second
//!   [`Refused`](lb_core::ResolveErrorKind::Refused), and not being able to ask [`Unavailable`](lb_core::ResolveErrorKind::Unavailable).
//! - **What Consul knows is used**: health, weights, maintenance, tags, `Meta`, localities; see below.
//!
//! | target | meaning |
//! |---|---|
//! | `consul:///orders` | the service, of the agents of the [configuration](ConsulConfig); `CONSUL_HTTP_ADDR`; `127.0.0.1:8500` |
//! | `consul://agent:8500/orders`, `consul://a,b:8501/orders?scheme=https` | of these agents; one after another if one fails |
//! | `?tag=v2&tag=gpu` | only entries with all these tags |
//! | `?filter=Service.Meta.version==2` | only entries for which Consul's filter expression holds |
//! | `?passing` | only entries all of whose checks pass; else the others are there, with their health |
//! | `?dc=…`, `?ns=…`, `?partition=…`, `?peer=…`, `?near=_agent` | as Consul has them |
//! | `?stale` | any server may answer, also without a leader; a note says so where it did |
//! | `?service_config=KEY` | the service config is the value of this key; default [`ConsulConfig::with_service_config_key`] |
//! | `?wait=30s` | how long a query waits; default 60 s |
//! | `?query=NAME`, or `consul:///NAME?query` | a prepared query, executed every 10 s, as Consul cannot wait on those |
//!
//! # When it asks
//! Always: a query waits inside Consul until something changes. While a service changes without rest it is asked four times a
//! second. After a failure of all agents: 100 ms later, then 1.6 times longer each time up to 1.5 s, ±20 %. An index that goes backwards
//! is forgotten, and so is every index after a failure, so that what changed meanwhile shows at once. A fresh look that the
//! channel asks for replaces the waiting query, at most every 10 s. All times and the size of an answer are bounded by the configuration.
//!
//! # What it yields
//! Full sets, and only if something changed or an error ended; an error after every failure of all agents, except that a waiting query
//! that is merely cut off is first asked again. That a service does not exist is said once. At the start, where the cluster has no
//! leader, a stale answer is taken rather than none.
//!
//! # Attributes
//! | attribute | from |
//! |---|---|
//! | health | checks: any critical is unhealthy, else any warning is degraded, else healthy; maintenance of service or agent is draining |
//! | weight | `Meta` `weight`; else `Weights.Warning` while degraded, `Weights.Passing` otherwise |
//! | locality | `Meta` `region`, `zone`, `sub_zone`; else Consul's locality; else the datacenter as region |
//! | capabilities | all tags, and `Meta` `capabilities`, separated by commas |
//! | priority, cost, capacity, hostname, replica_of | `Meta` of that name |
//! | id | `Meta` `id`; else the name of the agent, `/` and the service's id |
//! | metadata | every other word of `Meta`, and `consul.node` and `consul.service_id` |
//!
//! `Meta` of the service counts before tags written `key=value`, and these before `Meta` of the agent (`node_meta`). A
//! [prefix](ConsulConfig::with_meta_prefix) keeps these words apart from other people's. A value that cannot be read is left out and
//! logged; so is an entry without a usable address or port, while the rest is used. An address registered twice counts once, with the
//! better health. An entry without an address of its own has its agent's.
//!
//! # Servers
//! [`ConsulRegistration`] registers a server, keeps it registered and takes it out at its end.
//!
//! # Why there is no client library
//! The API is asked over `hyper` directly. rs-consul 0.15 knows the catalogue but not the agent's API, without which nobody runs a check
//! or keeps a TTL alive; it drops weights, `Meta` and checks; it holds one token for ever, reads answers of any size, and brings a second
//! HTTP client and a process-wide logger. What would have been left of it is one `GET`, for 23 further packages.
//!
//! Registering through the catalogue, which is the one way it has, was tried: on a node that runs an agent, the agent takes the service
//! out again at its next sync with the catalogue; after a second in an agent that had just started, within minutes in others. So
//! registration goes through the agent here, and its checks with it.
//!
//! TLS is by rustls, with the features `tls-ring` or `tls-aws-lc`. Consul's types, and hyper's, show nowhere.

mod agent;
mod client;
mod config;
mod convert;
mod entropy;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keeper;
mod key;
mod model;
mod permission;
mod question;
mod registration;
mod reply;
mod resolver;
mod service;
mod setup;
mod state;
mod tls;
mod watch;

pub use config::ConsulConfig;
pub use registration::ConsulRegistration;
pub use registration::RegistrationError;
pub use resolver::ConsulResolver;
pub use service::ConsulCheck;
pub use service::ConsulService;
