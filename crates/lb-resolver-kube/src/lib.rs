//! A `kubernetes:` resolver for gRPC load balancing.
//!
//! `kubernetes:///orders.shop:grpc` becomes one endpoint per pod behind the service `orders` in the namespace `shop`, kept up to date by a
//! watch on the service's EndpointSlices. What sets it apart from a DNS name of a headless service:
//!
//! - **Changes are seen at once**, not when a record's time to live ends or a connection breaks.
//! - **Pods that end are drained.** They get no new calls but keep their connections until they leave the slice.
//! - **All slices count.** A service has one slice per hundred pods and family; they are merged, pods listed twice are one endpoint, and
//!   the two addresses of a dual-stack pod belong to one endpoint.
//! - **Failure never shrinks a working set.** Whatever cannot be asked or read is an error, after which the channel keeps what it has.
//!
//! | target | meaning |
//! |---|---|
//! | `kubernetes:///orders.shop:grpc`, `k8s:///orders.shop:grpc` | the port named `grpc` of service `orders` in namespace `shop` |
//! | `kubernetes:///orders:grpc` | in the namespace of the kubeconfig's context or, in a cluster, of the pod |
//! | `kubernetes://shop/orders:grpc`, `kubernetes:///orders.shop.svc.cluster.local:grpc` | the same, written otherwise |
//! | `kubernetes:///orders.shop:8080` | that port of the pods, which need not be the service's own port |
//! | `kubernetes:///orders.shop` | the only port, or the one named `grpc` |
//! | `…?service_config=namespace/name:key` | the service config is this key of this ConfigMap; only the name has to be there, the rest is the service's namespace and `service_config.json`; default [`KubernetesConfig::with_service_config_map`] |
//!
//! # Rights
//! The service account (or the user of the kubeconfig) needs this, and an error says so if it is missing:
//!
//! ```yaml
//! kind: Role
//! apiVersion: rbac.authorization.k8s.io/v1
//! metadata: { name: endpoints-reader, namespace: shop }
//! rules:
//! - { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch] }
//! ```
//!
//! A service config in a ConfigMap needs this too; `resourceNames` may be left out:
//!
//! ```yaml
//! - { apiGroups: [""], resources: [configmaps], verbs: [get, list, watch], resourceNames: [orders] }
//! ```
//!
//! # What an endpoint is told to be
//! | in the slice | in [`Attributes`](lb_core::Attributes) |
//! |---|---|
//! | `conditions.terminating` | `health: Draining` |
//! | `conditions.ready` false | `health: Unhealthy`; otherwise, also if it is not set, `Healthy` |
//! | `zone` | `locality.zone`; the region only [if nodes are asked for](KubernetesConfig::with_node_topology) |
//! | `targetRef.name`, the pod | `id` |
//! | `nodeName`, `hints`, port's `appProtocol` | `metadata`: `node`, `zone-hints`, `node-hints`, `app-protocol` |
//! | annotation or label `evenkeel/weight`, `priority`, `capacity`, `cost`, `capabilities` (by commas), `region`, `zone`, `sub-zone`, `hostname`, `replica-of` | the attribute of that name |
//! | any other annotation or label `evenkeel/…` | `metadata` of that name |
//!
//! Kubernetes copies a service's annotations and labels to its slices. An annotation counts before a label. A value that cannot be read is
//! left out and logged. If no endpoint is ready, those that end but still serve are `Degraded` instead of `Draining`, so that they get
//! the calls, as from kube-proxy; see [`KubernetesConfig::with_terminating_fallback`].
//!
//! # When it asks
//! One list, then one watch after the other, each for at most 30 s, so that a dead connection shows within a minute. A watch that ends as it
//! should is resumed where it ended. One that breaks, or that the server no longer has the history for (410), is followed by a new list,
//! which replaces what was known in one step. Failed attempts are paced: 0.1 s after the failure, then 1.6 times longer each time up
//! to 1.5 s, ±20 %; up to 15 s where the server refuses or cannot be understood. Changes are gathered for 0.1 s, so that a roll-out is a few updates and not
//! hundreds.
//!
//! # What it yields
//! Full sets, and only if something changed or an error ended. A service of which there is no slice is an error of kind `NotFound`: it does
//! not exist, or nobody ever made endpoints for it; a service scaled to nothing has an empty slice and is an empty set. An answer is read up
//! to [a bound](KubernetesConfig::with_max_answer), redirects are not followed.
//!
//! # Building
//! The client is kube's, of which no type shows. It needs to know a version of Kubernetes at build time, which only a program may choose:
//! `k8s-openapi = { version = "0.29", features = ["latest"] }` among the program's dependencies, or `K8S_OPENAPI_ENABLED_VERSION=1.36` in
//! its build's environment. Nothing here depends on which one. A rustls provider that the process has installed is used; else ring becomes it.
//!
//! Source: the EndpointSlice API (discovery.k8s.io/v1), KEP-1669 (terminating endpoints).

mod access;
mod api;
mod config;
mod config_map;
mod entropy;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod known;
mod lines;
mod merge;
mod nodes;
mod pace;
mod place;
mod resolver;
mod slice;
mod stream;
mod target;
mod traits;
mod watch;

pub use config::KubernetesConfig;
pub use resolver::KubernetesResolver;
