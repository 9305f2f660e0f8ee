//! Which attributes series of calls have.

use std::fmt;
use std::sync::Arc;

use lb_core::Locality;
use lb_core::retry::CODE_NAMES;
use lb_tonic::observe::CallStart;
use opentelemetry::KeyValue;

use crate::counts::TARGET;

const METHOD: &str = "grpc.method";
const STATUS: &str = "grpc.status";
pub(crate) const LOCALITY: &str = "grpc.lb.locality";
pub(crate) const BACKEND_SERVICE: &str = "grpc.lb.backend_service";
const CUSTOM: &str = "grpc.client.call.custom";

type Filter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The choice of a program.
#[derive(Clone, Default)]
pub(crate) struct Labels {
    pub(crate) locality: bool,
    pub(crate) backend_service: bool,
    pub(crate) custom: bool,
    pub(crate) methods: Option<Filter>,
}

/// What `grpc.client.call.custom` says of one call (gRFC A108): to be put into the request's extensions, where
/// [`MetricsConfig::custom_label`](crate::MetricsConfig::custom_label) is on. Few values, please: each makes series of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLabel(Arc<str>);

impl CallLabel {
    /// The label's value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }
}

impl Labels {
    /// Whether a method that no generated client has keeps its name.
    pub(super) fn names(&self, method: &str) -> bool {
        self.methods.as_ref().is_some_and(|named| named(method))
    }

    /// What the call says of itself.
    pub(super) fn custom_of<'a>(&self, call: &CallStart<'a>) -> &'a str {
        let label = if self.custom { call.extensions().get::<CallLabel>() } else { None };
        label.map_or("", |label| &label.0)
    }

    /// The attributes of a method.
    pub(super) fn of_method(&self, target: &Arc<str>, method: &str, custom: &str) -> Vec<KeyValue> {
        let mut labels = vec![KeyValue::new(METHOD, method.to_owned()), KeyValue::new(TARGET, Arc::clone(target))];
        if self.custom {
            labels.push(KeyValue::new(CUSTOM, custom.to_owned()));
        }
        labels
    }

    /// The attributes of an attempt with this status.
    pub(super) fn of_attempt(&self, method: &[KeyValue], status: usize, locality: &str) -> Vec<KeyValue> {
        let mut labels = with_status(method, status);
        if self.locality {
            labels.push(KeyValue::new(LOCALITY, locality.to_owned()));
        }
        if self.backend_service {
            // Only xDS has any.
            labels.push(KeyValue::new(BACKEND_SERVICE, ""));
        }
        labels
    }
}

/// The attributes of a call with this status.
pub(super) fn with_status(method: &[KeyValue], status: usize) -> Vec<KeyValue> {
    let mut labels = method.to_vec();
    labels.push(KeyValue::new(STATUS, CODE_NAMES.get(status).copied().unwrap_or(CODE_NAMES[2])));
    labels
}

/// Whether nothing is known of a locality.
pub(super) fn is_unknown(locality: &Locality) -> bool {
    let Locality { region, zone, sub_zone, .. } = locality;
    region.is_empty() && zone.is_empty() && sub_zone.is_empty()
}

/// A locality as gRPC writes it.
pub(super) fn written(locality: &Locality) -> String {
    if is_unknown(locality) {
        return String::new();
    }
    let Locality { region, zone, sub_zone, .. } = locality;
    format!("{{region={region:?}, zone={zone:?}, sub_zone={sub_zone:?}}}")
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labels")
            .field("locality", &self.locality)
            .field("backend_service", &self.backend_service)
            .field("custom", &self.custom)
            .finish_non_exhaustive()
    }
}
