//! What comes from outside as data is checked here, and refused rather than mended: who writes data can read an error.

use std::sync::Arc;

use serde::Deserialize;

use crate::address::Address;
use crate::attributes::{Attributes, Locality};
use crate::endpoint::Endpoint;
use crate::hints::{DEFAULT_LOAD_THRESHOLD, PickHints};
use crate::policy::ConfigError;

/// Durations as seconds with a fraction.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::Serializer;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(crate) mod optional {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

        #[expect(clippy::ref_option, reason = "serde gives the field by reference")]
        pub(crate) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            time.map(|time| time.as_secs_f64()).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            let checked = |seconds| {
                Duration::try_from_secs_f64(seconds)
                    .map_err(|_| de::Error::custom(format!("{seconds:?} is no time in seconds from 0")))
            };
            Option::<f64>::deserialize(deserializer)?.map(checked).transpose()
        }
    }
}

/// An endpoint as data: its addresses, and its [attributes](Attributes) beside them.
///
/// ```
/// # use lb_core::selector::EndpointData;
/// # use lb_core::Endpoint;
/// let data = r#"{"addresses": ["10.0.0.1:50051"], "id": "a", "weight": 3, "capabilities": ["gpu"], "locality": {"region": "eu"}}"#;
/// let endpoint = Endpoint::try_from(serde_json::from_str::<EndpointData>(data)?)?;
/// assert_eq!((endpoint.key().as_str(), endpoint.attributes.weight), ("10.0.0.1:50051", 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct EndpointData {
    /// At least one, such as `10.0.0.1:50051` or `unix:/run/orders.sock`.
    pub addresses: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub attributes: Attributes,
}

impl TryFrom<EndpointData> for Endpoint {
    type Error = ConfigError;

    fn try_from(data: EndpointData) -> Result<Self, ConfigError> {
        let address = |text: &String| {
            text.parse::<Address>()
                .map_err(|error| ConfigError::new("endpoint.addresses", format!("{text:?} ({error})"), "IP:PORT or a socket"))
        };
        let addresses = data.addresses.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        if let Some(cost) = data.attributes.cost.filter(|cost| !cost.is_finite() || *cost < 0.0) {
            return Err(ConfigError::new("endpoint.cost", cost, "a number from 0"));
        }
        let endpoint =
            Self::with_addresses(addresses).map_err(|_| ConfigError::new("endpoint.addresses", "empty", "at least one"))?;
        Ok(endpoint.with_attributes(data.attributes))
    }
}

/// [`PickHints`] as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HintsData {
    policy: Option<String>,
    hash_key: Option<String>,
    session: Option<String>,
    require: Vec<String>,
    locality: Option<Locality>,
    region: Option<String>,
    load_threshold: Option<Threshold>,
    prefer: Vec<String>,
    exclude: Vec<String>,
    avoid: Vec<String>,
    pin: Option<String>,
    priority: u8,
    cost: u32,
    kind: Option<String>,
    limit_key: Option<String>,
    wait_for_ready: Option<bool>,
}

/// `true` asks for the default.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Threshold {
    Asked(bool),
    Share(f64),
}

impl Threshold {
    fn checked(self) -> Result<Option<f64>, ConfigError> {
        match self {
            Self::Asked(asked) => Ok(asked.then_some(DEFAULT_LOAD_THRESHOLD)),
            Self::Share(share) if (0.0..=1.0).contains(&share) => Ok(Some(share)),
            Self::Share(share) => Err(ConfigError::new("loadThreshold", share, "from 0 to 1, or true for 0.8")),
        }
    }
}

impl TryFrom<HintsData> for PickHints {
    type Error = ConfigError;

    fn try_from(data: HintsData) -> Result<Self, ConfigError> {
        let mut hints = Self {
            policy: word("policy", data.policy)?,
            hash_key: data.hash_key.map(|key| key.as_bytes().into()),
            session: word("session", data.session)?,
            load_threshold: data.load_threshold.map(Threshold::checked).transpose()?.flatten(),
            priority: data.priority,
            cost: data.cost,
            kind: word("kind", data.kind)?,
            limit_key: word("limitKey", data.limit_key)?,
            wait_for_ready: data.wait_for_ready,
            pin: word("pin", data.pin)?.map(|name| (&*name).into()),
            ..Self::default()
        };
        if let Some(region) = word("region", data.region)? {
            hints = hints.prefer_region(region);
        }
        if let Some(locality) = data.locality {
            hints = hints.prefer_locality(locality);
        }
        for capability in data.require {
            hints = hints.require(something("require", capability)?);
        }
        for name in data.prefer {
            hints = hints.prefer(&*something("prefer", name)?);
        }
        for name in data.exclude.into_iter().chain(data.avoid) {
            hints = hints.exclude(&*something("exclude", name)?);
        }
        Ok(hints)
    }
}

fn word(field: &str, text: Option<String>) -> Result<Option<Arc<str>>, ConfigError> {
    text.map(|text| something(field, text)).transpose()
}

fn something(field: &str, text: String) -> Result<Arc<str>, ConfigError> {
    if text.is_empty() { Err(ConfigError::new(field, "\"\"", "a text that is not empty")) } else { Ok(text.into()) }
}
