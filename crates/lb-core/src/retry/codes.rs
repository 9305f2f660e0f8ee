//! Sets of gRPC status codes.

use std::fmt;

use serde_json::Value;

use crate::policy::ConfigError;

/// The names of gRPC's status codes, by number.
pub const CODE_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const ALLOWED: &str = "a list of names or numbers of gRPC status codes other than OK";

/// A set of codes that a call can fail with; never contains OK.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct StatusCodes(u32);

impl StatusCodes {
    /// UNAVAILABLE: the code that says "somebody else may well be able to".
    pub const UNAVAILABLE: Self = Self(1 << 14);

    /// UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS: what a server that is broken answers, or does not answer. All
    /// others tell the caller about the call, from a server that works.
    pub const BROKEN: Self = Self(1 << 2 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15);

    /// These codes, by number; `tonic::Code` is one.
    ///
    /// # Errors
    /// A number that is no code, or OK.
    pub fn try_new(codes: impl IntoIterator<Item = impl Into<i32>>) -> Result<Self, ConfigError> {
        let mut set = Self::default();
        for code in codes {
            let code = code.into();
            set.0 |= bit(code).ok_or_else(|| ConfigError::new("codes", code, ALLOWED))?;
        }
        Ok(set)
    }

    /// From a list in a service config: names in any letter case, or numbers. `path` names it in errors.
    ///
    /// # Errors
    /// It is no list, or holds something that is no code, or OK.
    pub(crate) fn from_json(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let error = |value: &Value| ConfigError::new(path, value, ALLOWED);
        let mut set = Self::default();
        for code in value.as_array().ok_or_else(|| error(value))? {
            let number = match code {
                Value::String(name) => {
                    CODE_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)).map(|number| number as i64)
                }
                other => other.as_i64(),
            };
            let number = number.and_then(|number| i32::try_from(number).ok());
            set.0 |= number.and_then(bit).ok_or_else(|| error(code))?;
        }
        Ok(set)
    }

    /// Whether this code is one of them.
    #[inline]
    pub fn contains(self, code: i32) -> bool {
        bit(code).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(code: i32) -> Option<u32> {
    (1..CODE_NAMES.len() as i32).contains(&code).then(|| 1 << code)
}

impl fmt::Debug for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = CODE_NAMES.iter().enumerate().filter(|(number, _)| self.0 & (1 << number) != 0).map(|(_, name)| name);
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<StatusCodes, ConfigError> {
        StatusCodes::from_json("codes", &value)
    }

    #[test]
    fn names_in_any_case_and_numbers_are_the_same_codes() {
        for value in [json!(["UNAVAILABLE", "aborted"]), json!([14, 10]), json!(["uNaVaIlAbLe", 10, 14])] {
            let codes = read(value).unwrap();
            assert_eq!(codes, StatusCodes::try_new([10, 14]).unwrap());
            assert!(codes.contains(14) && codes.contains(10) && !codes.contains(13) && !codes.contains(0) && !codes.contains(-1));
            assert_eq!(format!("{codes:?}"), r#"{"ABORTED", "UNAVAILABLE"}"#);
        }
        let all = read(json!((1..17).collect::<Vec<_>>())).unwrap();
        assert!((1..17).all(|code| all.contains(code)) && ![0, 17, 46, i32::MIN, i32::MAX].iter().any(|code| all.contains(*code)));
    }

    #[test]
    fn what_is_no_code_is_an_error() {
        let bad = [
            json!("x"),
            json!({}),
            json!(["NOPE"]),
            json!([17]),
            json!([-1]),
            json!([14.5]),
            json!([0]),
            json!(["ok"]),
            json!([true]),
        ];
        for value in bad {
            assert_eq!(read(value.clone()).unwrap_err().field, "codes", "{value}");
        }
        assert!(StatusCodes::try_new([0]).is_err() && StatusCodes::try_new([32]).is_err());
    }
}
