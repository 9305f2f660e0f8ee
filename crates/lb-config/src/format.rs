//! Files as trees: JSON, YAML and TOML.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// More than any configuration needs: 1000 services with every key set are 4 MB.
pub(crate) const MOST_BYTES: u64 = 8 << 20;

/// What YAML's aliases may make of a file.
#[cfg(feature = "yaml")]
const MOST_YAML_NODES: usize = 1_000_000;

/// Aliases are for what a few services share, not for making a small file large.
#[cfg(feature = "yaml")]
const MOST_ALIASED_EVENTS: usize = 200_000;

/// As deep as JSON may be here.
#[cfg(feature = "yaml")]
const MOST_DEPTH: usize = 128;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// JSON.
    Json,
    /// YAML, one document.
    #[cfg(feature = "yaml")]
    Yaml,
    /// TOML.
    #[cfg(feature = "toml")]
    Toml,
}

impl Format {
    /// What file names may end in.
    pub(crate) const ENDINGS: &str = match (cfg!(feature = "yaml"), cfg!(feature = "toml")) {
        (true, true) => ".json, .yaml, .yml or .toml",
        (true, false) => ".json, .yaml or .yml; .toml needs the feature `toml`",
        (false, true) => ".json or .toml; .yaml needs the feature `yaml`",
        (false, false) => ".json; .yaml and .toml need the features `yaml` and `toml`",
    };

    /// The format by the name of the file; `None` for other names, and for those whose feature is off.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            #[cfg(feature = "yaml")]
            "yaml" | "yml" => Some(Self::Yaml),
            #[cfg(feature = "toml")]
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// A whole file. The error says where it is wrong, and shows nothing of the file.
    pub(crate) fn parse(self, bytes: &[u8]) -> Result<Value, String> {
        if bytes.len() as u64 > MOST_BYTES {
            return Err(format!("it has {} bytes; at most {MOST_BYTES} are allowed", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        // Editors on Windows begin UTF-8 with a mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        match self {
            Self::Json => serde_json::from_str(text).map(|Tree(tree)| tree).map_err(|error| format!("not JSON: {error}")),
            #[cfg(feature = "yaml")]
            Self::Yaml => yaml(text),
            #[cfg(feature = "toml")]
            Self::Toml => toml(text),
        }
    }
}

#[cfg(feature = "yaml")]
fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_YAML_NODES,
            max_events: 2 * MOST_YAML_NODES,
            max_documents: 1,
            max_depth: MOST_DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_ALIASED_EVENTS },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map(|Tree(tree)| tree).map_err(|error| format!("not YAML: {error}"))
}

#[cfg(feature = "toml")]
fn toml(text: &str) -> Result<Value, String> {
    toml::from_str(text).map(|Tree(tree)| tree).map_err(|error| {
        // The error's own text quotes the line, which may hold a secret.
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("not TOML: line {line}: {}", error.message().trim())
    })
}

/// A JSON value in which no key stands twice: of two, one would go unread.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Self)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value JSON knows")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {:?} stands twice", crate::keys::cut(&key))));
            }
            let Tree(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}
