//! Where in a configuration a value stands.

use std::fmt;
use std::sync::Arc;

use crate::keys::Key;

/// A key, for all services or for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    service: Option<Arc<str>>,
    key: &'static str,
}

impl Place {
    pub(crate) fn new(service: Option<&Arc<str>>, key: &'static Key) -> Self {
        Self { service: service.cloned(), key: key.path }
    }

    /// The service, if it is for one alone.
    pub(crate) fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// The path of the key within its service, such as `retry.maxAttempts`.
    pub(crate) fn key(&self) -> &'static str {
        self.key
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => write!(f, "services.{service}.{}", self.key),
            None => f.write_str(self.key),
        }
    }
}
