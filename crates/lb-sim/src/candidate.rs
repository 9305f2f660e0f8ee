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
    /// What people call it: what stands before an equals sign, else the name with its configuration.
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
    /// Those of this text: names separated by commas, each with its configuration in braces behind it and a label with an equals
    /// sign before it if it needs them.
    ///
    /// ```
    /// let candidates = lb_sim::Candidate::list(r#"oracle, best of 3 = least_request{"choiceCount": 3}"#)?;
    /// assert_eq!(candidates[1].label, "best of 3");
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
        let (named, config) = match text.find('{') {
            Some(at) => (text[..at].trim_end(), parse_config(&text[at..])?),
            None => (text, Value::Null),
        };
        let (label, name) = named.split_once('=').unwrap_or((text, named));
        let kind = match name.trim() {
            "oracle" => Kind::Oracle,
            "oracle_p2c" => Kind::OracleOfTwo,
            name => Kind::Policy { name: name.into(), config },
        };
        let candidate = Self { label: label.trim().into(), kind };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_outside_of_configurations_only() {
        let list = Candidate::list(r#" oracle,oracle_p2c , x=least_request{"choiceCount":3,"new":[1,2]},random,"#).unwrap();
        let labels: Vec<&str> = list.iter().map(|candidate| candidate.label.as_str()).collect();
        assert_eq!(labels, ["oracle", "oracle_p2c", "x", "random"]);
        assert_eq!(list[0].kind, Kind::Oracle);
    }

    #[test]
    fn what_makes_no_sense_says_what_is_allowed() {
        for (text, part) in [
            ("round_robbin", "allowed is one of"),
            ("least_request{", "a JSON object"),
            (r#"least_request{"choiceCount":1}"#, "choiceCount is 1"),
        ] {
            let error = Candidate::list(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_lineup_has_policies() {
        assert!(crate::lineup().len() > 6);
    }
}
