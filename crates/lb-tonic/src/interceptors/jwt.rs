//! Claims of JSON Web Tokens, read without verifying anything.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The longest token that is looked at; servers refuse headers of about this size.
const MAX_TOKEN: usize = 8 * 1024;

/// A claim at the top of the payload of a signed token in its compact form (RFC 7515), if it is a text, a whole number or a boolean.
/// **Nothing is verified.** Encrypted tokens, which have five parts, cannot be read.
pub(super) fn claim(token: &str, name: &str) -> Option<String> {
    let token = match token.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        Some(_) => return None,
        None => token,
    };
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    match claims.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
