//! The names a `methodConfig` is for.

use serde_json::Value;

use super::fields;
use crate::policy::ConfigError;

/// What a method config is for, from the most particular to the most general.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name<'a> {
    Method(&'a str, &'a str),
    Service(&'a str),
    /// Every method that nothing else is for.
    Default,
}

impl<'a> Name<'a> {
    /// Absent, `null` and empty are the same.
    pub(super) fn from_json(at: &str, name: &'a Value) -> Result<Self, ConfigError> {
        let part = |field| fields::text(at, name, field).map(|text| text.unwrap_or_default());
        match (part("service")?, part("method")?) {
            ("", "") => Ok(Self::Default),
            ("", method) => {
                Err(ConfigError::new(fields::path(at, "method"), format_args!("{method:?}"), "a method only with its service"))
            }
            (service, "") => Ok(Self::Service(service)),
            (service, method) => Ok(Self::Method(service, method)),
        }
    }

    /// As a config names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Method(service, method) => format!("{service}/{method}"),
            Self::Service(service) => (*service).to_owned(),
            Self::Default => "the name of all methods".to_owned(),
        }
    }
}
