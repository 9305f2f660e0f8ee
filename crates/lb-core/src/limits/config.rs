//! Which rates are limited.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use serde_json::Value;

use super::flood::FloodLimit;
use super::keyed::{FEWEST_KEYS, MOST_KEYS};
use super::rate::RateLimit;
use crate::policy::ConfigError;

/// Keys in use at once that a key limit keeps apart if it is not told otherwise: 1 MiB.
const KEYS: usize = 1 << 16;

/// The rate limits of a channel; none by default. See [`limits`](super) for what each is for.
///
/// ```
/// use lb_core::limits::{FloodLimit, KeyLimit, RateLimit, RateLimits};
///
/// let limits = RateLimits::new()
///     .flood(FloodLimit::above(5000)?)
///     .channel(RateLimit::per_second(1000)?.with_burst(1500)?)
///     .method("orders.v1.Orders/Export", RateLimit::per_second(2)?)
///     .service("reports.v1.Reports", RateLimit::per_second(50)?)
///     .endpoint(RateLimit::per_second(400)?)
///     .key(KeyLimit::by_header("x-tenant", RateLimit::per_second(100)?)?);
/// assert!(limits.is_on());
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RateLimits {
    /// Above this the channel sheds before it looks at a call.
    pub flood: Option<FloodLimit>,
    /// All calls of the channel together.
    pub channel: Option<RateLimit>,
    /// The attempts at each endpoint.
    pub endpoint: Option<RateLimit>,
    /// The calls of each key.
    pub key: Option<KeyLimit>,
    /// The calls of a method or of all methods of a service together, by path: `/service/method` or `/service`.
    pub methods: BTreeMap<Arc<str>, RateLimit>,
    /// The calls of all methods together that none of those is for.
    pub other_methods: Option<RateLimit>,
}

impl RateLimits {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the systems this is measured against limit by default: 1000 calls a second and 1500 at once, and a flood from 5000 a second.
    pub fn promised() -> Self {
        Self::new().channel(RateLimit::promised()).flood(FloodLimit::promised())
    }

    /// Sheds above this before it looks at a call.
    #[must_use]
    pub fn flood(mut self, limit: FloodLimit) -> Self {
        self.flood = Some(limit);
        self
    }

    /// For all calls of the channel together.
    #[must_use]
    pub fn channel(mut self, limit: RateLimit) -> Self {
        self.channel = Some(limit);
        self
    }

    /// For the attempts at each endpoint: beyond it calls go to others while there are any.
    #[must_use]
    pub fn endpoint(mut self, limit: RateLimit) -> Self {
        self.endpoint = Some(limit);
        self
    }

    /// For the calls of each key.
    #[must_use]
    pub fn key(mut self, limit: KeyLimit) -> Self {
        self.key = Some(limit);
        self
    }

    /// For one method, such as `orders.v1.Orders/Place`, with or without a slash in front.
    #[must_use]
    pub fn method(mut self, path: &str, limit: RateLimit) -> Self {
        self.methods.insert(path_of(path), limit);
        self
    }

    /// For all methods of a service together that have no limit of their own.
    #[must_use]
    pub fn service(self, service: &str, limit: RateLimit) -> Self {
        self.method(service, limit)
    }

    /// For all methods together that no method's or service's limit is for.
    #[must_use]
    pub fn other_methods(mut self, limit: RateLimit) -> Self {
        self.other_methods = Some(limit);
        self
    }

    /// From `{"flood": {…}, "channel": {…}, "endpoint": {…}, "key": {"header": …, …}, "methods": [{"service": …, "method": …, …}]}`. A
    /// limit is `{"perSecond": 1000, "burst": 1500}`; a method without `method` is a service, one without both all other methods. Unknown
    /// fields are ignored.
    ///
    /// # Errors
    /// A wrong type, a value out of range, a method named twice.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        if !config.is_object() {
            return Err(ConfigError::new("rateLimits", config, "an object"));
        }
        let part = |field| config.get(field).filter(|value| !value.is_null());
        let rate = |field| part(field).map(|value| RateLimit::from_json(value).map_err(|error| within(field, error))).transpose();
        let limits = Self {
            flood: part("flood").map(FloodLimit::from_json).transpose()?,
            channel: rate("channel")?,
            endpoint: rate("endpoint")?,
            key: part("key").map(KeyLimit::from_json).transpose()?,
            ..Self::default()
        };
        let methods = part("methods").unwrap_or(&Value::Null);
        let list = match methods {
            Value::Null => &[],
            Value::Array(list) => &list[..],
            other => return Err(ConfigError::new("methods", other, "a list of objects")),
        };
        list.iter().enumerate().try_fold(limits, |limits, (index, method)| limits.add_method(&format!("methods[{index}]"), method))
    }

    fn add_method(mut self, at: &str, method: &Value) -> Result<Self, ConfigError> {
        let limit = RateLimit::from_json(method).map_err(|error| within(at, error))?;
        let (service, name) = (text(at, method, "service")?, text(at, method, "method")?);
        let before = match (service, name) {
            ("", "") => self.other_methods.replace(limit),
            ("", _) => return Err(ConfigError::new(format!("{at}.method"), format!("{name:?}"), "a method only with its service")),
            (service, "") => self.methods.insert(path_of(service), limit),
            (service, name) => self.methods.insert(path_of(&format!("{service}/{name}")), limit),
        };
        match before {
            None => Ok(self),
            Some(_) => Err(ConfigError::new(at, method, "a method or service that was not named before")),
        }
    }

    /// Whether anything is limited.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// Whether anything is limited before the pick.
    pub fn at_the_door(&self) -> bool {
        Self { endpoint: None, ..self.clone() }.is_on()
    }
}

/// A rate for the calls of each key, and where keys come from.
///
/// A call's key is what [`PickHints::limit_key`](crate::PickHints::limit_key) says, else the value of the header if one is named; a
/// call without a key is not limited by it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeyLimit {
    /// For each key.
    pub limit: RateLimit,
    /// The header whose value is the key of calls that bring no other.
    pub header: Option<HeaderName>,
    max_keys: usize,
}

impl KeyLimit {
    /// By the key in the call's options alone.
    pub fn by_option(limit: RateLimit) -> Self {
        Self { limit, header: None, max_keys: KEYS }
    }

    /// By the value of this header, unless the call's options have a key.
    ///
    /// # Errors
    /// What is no name of a header.
    pub fn by_header(name: &str, limit: RateLimit) -> Result<Self, ConfigError> {
        let header = HeaderName::try_from(name.to_ascii_lowercase())
            .map_err(|_| ConfigError::new("key.header", format!("{name:?}"), "the name of a header"))?;
        Ok(Self { header: Some(header), ..Self::by_option(limit) })
    }

    /// For so many keys in use at once, 8 to 1 048 576; default 65 536. Memory is 16 bytes for each, rounded up to a power of two, from
    /// the start and for good. See [`KeyedBuckets`](super::KeyedBuckets) for what happens beyond.
    ///
    /// # Errors
    /// A number out of range.
    pub fn max_keys(self, keys: usize) -> Result<Self, ConfigError> {
        if !(FEWEST_KEYS..=MOST_KEYS).contains(&keys) {
            return Err(ConfigError::new("key.maxKeys", keys, "a whole number from 8 to 1048576"));
        }
        Ok(Self { max_keys: keys, ..self })
    }

    fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let limit = RateLimit::from_json(config).map_err(|error| within("key", error))?;
        let keyed = match text("key", config, "header")? {
            "" => Self::by_option(limit),
            name => Self::by_header(name, limit)?,
        };
        match config.get("maxKeys") {
            None | Some(Value::Null) => Ok(keyed),
            Some(keys) => {
                let number = keys.as_u64().and_then(|keys| usize::try_from(keys).ok());
                keyed.max_keys(number.ok_or_else(|| ConfigError::new("key.maxKeys", keys, "a whole number from 8 to 1048576"))?)
            }
        }
    }

    /// The number of keys it is for.
    pub fn keys(&self) -> usize {
        self.max_keys
    }
}

/// With one slash in front and none behind.
fn path_of(name: &str) -> Arc<str> {
    format!("/{}", name.trim_matches('/')).into()
}

fn text<'a>(at: &str, config: &'a Value, field: &str) -> Result<&'a str, ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(ConfigError::new(format!("{at}.{field}"), other, "a text")),
    }
}

fn within(at: &str, error: ConfigError) -> ConfigError {
    ConfigError { field: format!("{at}.{}", error.field), ..error }
}
