//! The calls of one service, by endpoint and policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use http::HeaderMap;
use lb_core::EndpointKey;
use lb_tonic::observe::{AttemptEnd, AttemptStart, AttemptTrace, CallEnd, CallObserver, CallStart, CallTrace, Placed};
use lb_tonic::{EndpointInfo, LbChannel, WeakChannel};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::Inner;

/// Policies told apart at one endpoint.
const MAX_POLICIES: usize = 16;

/// What is beyond a bound.
const OTHER: &str = "other";

/// One service of the view. Give a clone to [`LbChannelBuilder::call_observer`](lb_tonic::LbChannelBuilder::call_observer).
#[derive(Clone)]
pub struct GatewayService(pub(super) Arc<Service>);

pub(super) struct Service {
    pub(super) name: Arc<str>,
    requests: IntCounterVec,
    times: HistogramVec,
    most: usize,
    channels: Mutex<Vec<WeakChannel>>,
    routes: RwLock<HashMap<Arc<str>, Routes>>,
    nowhere: OnceLock<IntCounter>,
}

/// What goes to one endpoint, by policy.
type Routes = BTreeMap<Box<str>, Arc<Route>>;

/// The series of one endpoint and policy.
struct Route {
    succeeded: IntCounter,
    failed: IntCounter,
    time: Histogram,
}

impl GatewayService {
    /// Shows the endpoints of a channel as long as it lives, which this does not prolong. Each channel is to be watched once.
    pub fn watch(&self, channel: &LbChannel) {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner).push(channel.downgrade());
    }
}

impl Service {
    pub(super) fn new(view: &Inner, name: Arc<str>) -> Self {
        Self {
            name,
            requests: view.requests.clone(),
            times: view.times.clone(),
            most: view.most,
            channels: Mutex::default(),
            routes: RwLock::default(),
            nowhere: OnceLock::new(),
        }
    }

    /// The endpoints of all its channels now, and nothing more of those that are gone.
    pub(super) fn endpoints(&self) -> Vec<EndpointInfo> {
        let mut endpoints = Vec::new();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| {
            let channel = channel.upgrade();
            endpoints.extend(channel.iter().flat_map(LbChannel::endpoints));
            channel.is_some()
        });
        drop(channels);
        let listed: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.key.as_str()).collect();
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|instance, routes| {
            let stays = &**instance == OTHER || listed.contains(&**instance);
            if !stays {
                routes.keys().for_each(|policy| self.forget(policy, instance));
            }
            stays
        });
        drop(routes);
        endpoints.truncate(self.most);
        endpoints
    }

    fn forget(&self, policy: &str, instance: &str) {
        // A series that is not there is as good as one that is removed.
        for success in ["true", "false"] {
            let _ = self.requests.remove_label_values(&[&self.name, policy, instance, success]);
        }
        let _ = self.times.remove_label_values(&[&self.name, policy, instance]);
    }

    fn route(&self, key: &EndpointKey, policy: &str) -> Arc<Route> {
        // What a service config names has its configuration behind the name.
        let policy = policy.split(' ').next().unwrap_or_default();
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(key.as_str()).and_then(|routes| routes.get(policy)) {
            return Arc::clone(route);
        }
        drop(routes);
        self.add(key.as_str(), policy)
    }

    fn add(&self, instance: &str, policy: &str) -> Arc<Route> {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let instance = if routes.contains_key(instance) || routes.len() < self.most { instance } else { OTHER };
        let routes = routes.entry(instance.into()).or_default();
        let policy = if routes.contains_key(policy) || routes.len() < MAX_POLICIES { policy } else { OTHER };
        let count = |success: &str| self.requests.with_label_values(&[&*self.name, policy, instance, success]);
        let new = || {
            let time = self.times.with_label_values(&[&*self.name, policy, instance]);
            Arc::new(Route { succeeded: count("true"), failed: count("false"), time })
        };
        Arc::clone(routes.entry(policy.into()).or_insert_with(new))
    }
}

impl CallObserver for GatewayService {
    fn call(&self, _call: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
        Some(Arc::new(self.clone()))
    }
}

impl CallTrace for GatewayService {
    fn attempt(&self, _attempt: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
        Some(Arc::new(Attempt { service: Arc::clone(&self.0), route: OnceLock::new() }))
    }

    fn end(&self, _end: &CallEnd<'_>) {}
}

impl fmt::Debug for GatewayService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GatewayService").field(&self.0.name).finish()
    }
}

/// One attempt.
struct Attempt {
    service: Arc<Service>,
    route: OnceLock<Arc<Route>>,
}

impl AttemptTrace for Attempt {
    fn wants_messages(&self) -> bool {
        false
    }

    fn placed(&self, placed: &Placed<'_>, _headers: &mut HeaderMap) {
        // It is placed once.
        let _ = self.route.set(self.service.route(placed.endpoint().key(), placed.policy()));
    }

    fn end(&self, end: &AttemptEnd<'_>) {
        match self.route.get() {
            Some(route) => {
                if end.code as i32 == 0 { &route.succeeded } else { &route.failed }.inc();
                route.time.observe(end.duration.as_secs_f64());
            }
            None => {
                let labels = [&*self.service.name, "", "", "false"];
                self.service.nowhere.get_or_init(|| self.service.requests.with_label_values(&labels)).inc();
            }
        }
    }
}
