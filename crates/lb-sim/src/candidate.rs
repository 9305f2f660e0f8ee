//! What is compared: policies of `lb-core`, and oracles that know what no client can.

use std::fmt;
use std::str::FromStr;

use lb_core::machine::NamedPolicy;
use lb_core::{ConfigError, PolicyRegistry};
use serde_json::Value;

/// Who places the calls.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Candidate {
    /// As people wrote it: the name, and the configuration if there is one.
    pub label: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A policy by its name and configuration.
    Policy { name: String, config: Value },
    /// Knows every server's state, its neighbours included, and takes the one that would work fastest on this call.
    Oracle,
    /// Draws two and takes the one with fewer calls in flight from everybody.
    OracleOfTwo,
}

impl Candidate {
    /// Those of this text: names separated by commas, each with its configuration in braces behind it if it needs one.
    ///
    /// ```
    /// let candidates = lb_sim::Candidate::list(r#"oracle, round_robin, least_request{"choiceCount": 3}"#)?;
    /// assert_eq!(candidates[2].label, r#"least_request{"choiceCount": 3}"#);
    /// # Ok::<(), lb_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// A policy is unknown or refuses its configuration.
    pub fn list(text: &str) -> Result<Vec<Self>, ConfigError> {
        let (mut depth, mut parts) = (0_usize, vec![String::new()]);
        for letter in text.chars() {
            match letter {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            match (letter, parts.last_mut()) {
                (',', _) if depth == 0 => parts.push(String::new()),
                (_, Some(part)) => part.push(letter),
                (_, None) => {}
            }
        }
        parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(str::parse).collect()
    }

    /// A policy of its own for one client; `None` for oracles.
    pub(crate) fn build(&self) -> Result<Option<NamedPolicy>, ConfigError> {
        match &self.kind {
            Kind::Policy { name, config } => {
                PolicyRegistry::default().build(name, config).map(|policy| Some(NamedPolicy::new(name.as_str(), policy)))
            }
            Kind::Oracle | Kind::OracleOfTwo => Ok(None),
        }
    }
}

impl FromStr for Candidate {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (name, config) = match text.find('{') {
            Some(at) => (text[..at].trim_end(), parse_config(&text[at..])?),
            None => (text, Value::Null),
        };
        let kind = match name {
            "oracle" => Kind::Oracle,
            "oracle_p2c" => Kind::OracleOfTwo,
            _ => Kind::Policy { name: name.into(), config },
        };
        let candidate = Self { label: text.into(), kind };
        candidate.build()?;
        Ok(candidate)
    }
}

fn parse_config(text: &str) -> Result<Value, ConfigError> {
    serde_json::from_str(text).map_err(|error| ConfigError::new("policies", text, format!("a JSON object ({error})")))
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}
