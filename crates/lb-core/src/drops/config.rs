//! Which share of the calls is dropped for which reason.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::MILLION;
use crate::policy::ConfigError;

/// The categories that a list may have. Each is a draw for every call; control planes use one to three.
pub const MAX_CATEGORIES: usize = 32;

/// The longest name of a category in bytes. It stands in errors and in the labels of metrics.
pub const MAX_NAME: usize = 128;

const LIST: &str = "dropOverloads";

/// What the numerator of a share counts: Envoy's `FractionalPercent.DenominatorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Denominator {
    /// Parts of a hundred: percent.
    #[default]
    Hundred,
    /// Parts of 10 000.
    TenThousand,
    /// Parts of 1 000 000.
    Million,
}

impl Denominator {
    /// How many parts of a million one part is.
    fn per_million(self) -> u32 {
        match self {
            Self::Hundred => 10_000,
            Self::TenThousand => 100,
            Self::Million => 1,
        }
    }
}

/// One category: a name, and the share of calls that is dropped for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropOverload {
    category: Arc<str>,
    per_million: u32,
}

impl DropOverload {
    /// Drops `numerator` parts of the denominator. More than all is all, as Envoy and gRPC have it.
    ///
    /// # Errors
    /// A name that is empty, or longer than [`MAX_NAME`] bytes.
    pub fn new(category: impl Into<Arc<str>>, numerator: u32, denominator: Denominator) -> Result<Self, ConfigError> {
        let category = category.into();
        if category.is_empty() || category.len() > MAX_NAME {
            return Err(ConfigError::new("category", format!("{category:?}"), format!("a text of 1 to {MAX_NAME} bytes")));
        }
        let per_million = numerator.saturating_mul(denominator.per_million()).min(MILLION);
        Ok(Self { category, per_million })
    }

    /// Its name.
    pub fn category(&self) -> &Arc<str> {
        &self.category
    }

    /// Of a million calls so many are dropped, 0 to 1 000 000.
    pub fn per_million(&self) -> u32 {
        self.per_million
    }

    fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let category = config.get("category").unwrap_or(&Value::Null);
        let name = category.as_str().ok_or_else(|| ConfigError::new("category", category, "a text"))?;
        let share = config.get("dropPercentage").unwrap_or(&Value::Null);
        if !share.is_object() {
            return Err(ConfigError::new("dropPercentage", share, "an object"));
        }
        let (numerator, denominator) = (numerator(share)?, denominator(share)?);
        Self::new(name, numerator, denominator)
    }
}

impl fmt::Display for DropOverload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} % of all calls", self.category, f64::from(self.per_million) / 10_000.0)
    }
}

/// Absent is 0, as writers of proto3's JSON leave it out then.
fn numerator(share: &Value) -> Result<u32, ConfigError> {
    match share.get("numerator") {
        None | Some(Value::Null) => Ok(0),
        Some(number) => {
            let whole = number.as_u64().and_then(|whole| u32::try_from(whole).ok());
            whole.ok_or_else(|| ConfigError::new("dropPercentage.numerator", number, "a whole number from 0 to 4294967295"))
        }
    }
}

fn denominator(share: &Value) -> Result<Denominator, ConfigError> {
    let field = share.get("denominator").unwrap_or(&Value::Null);
    match (field, field.as_str()) {
        (Value::Null, _) => Ok(Denominator::default()),
        (_, Some("HUNDRED")) => Ok(Denominator::Hundred),
        (_, Some("TEN_THOUSAND")) => Ok(Denominator::TenThousand),
        (_, Some("MILLION")) => Ok(Denominator::Million),
        _ => Err(ConfigError::new("dropPercentage.denominator", field, "\"HUNDRED\", \"TEN_THOUSAND\" or \"MILLION\"")),
    }
}

/// The categories in the order they are tried; none drops nothing. A name may stand twice: both are tried, and counted together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DropOverloads(Arc<[DropOverload]>);

impl DropOverloads {
    /// These, in this order.
    ///
    /// # Errors
    /// More than [`MAX_CATEGORIES`].
    pub fn new(categories: impl IntoIterator<Item = DropOverload>) -> Result<Self, ConfigError> {
        // One more than there may be is enough to know.
        let list: Vec<DropOverload> = categories.into_iter().take(MAX_CATEGORIES + 1).collect();
        if list.len() > MAX_CATEGORIES {
            return Err(too_many(format_args!("more than {MAX_CATEGORIES} categories")));
        }
        Ok(Self(list.into()))
    }

    /// From Envoy's JSON: `[{"category": "lb", "dropPercentage": {"numerator": 5, "denominator": "HUNDRED"}}]`. Without a denominator it is a
    /// hundred, without a numerator 0; unknown fields are ignored.
    ///
    /// # Errors
    /// A wrong type, a category without a name or a share, too many categories. The field begins with `dropOverloads`.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let list = config.as_array().ok_or_else(|| ConfigError::new(LIST, config, "a list of objects"))?;
        if list.len() > MAX_CATEGORIES {
            return Err(too_many(format_args!("{} categories", list.len())));
        }
        let read = |(at, category): (usize, &Value)| {
            if !category.is_object() {
                return Err(ConfigError::new(format!("{LIST}[{at}]"), category, "an object"));
            }
            DropOverload::from_json(category)
                .map_err(|error| ConfigError { field: format!("{LIST}[{at}].{}", error.field), ..error })
        };
        Self::new(list.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?)
    }

    /// The categories, in order.
    #[inline]
    pub fn list(&self) -> &[DropOverload] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn too_many(value: impl fmt::Display) -> ConfigError {
    ConfigError::new(LIST, value, format!("at most {MAX_CATEGORIES} categories"))
}
