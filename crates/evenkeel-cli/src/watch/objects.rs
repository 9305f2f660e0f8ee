//! One JSON object per answer.
//!
//! An object has `time` (RFC 3339), `event` and `endpoints`, the whole set as it stands. With the event `endpoints` come `added`,
//! `removed` and `changed` (keys) and `note`; with `error` come `kind`, `error` and `since`.

use std::time::SystemTime;

use evenkeel::EndpointKey;
use evenkeel::ResolveErrorKind;
use serde_json::Value;
use serde_json::json;

use super::known::Known;
use crate::text;

/// The line for the last answer.
pub(super) fn object(known: &Known, now: SystemTime) -> String {
    let endpoints: Vec<Value> = known.endpoints.iter().map(text::json).collect();
    let time = text::timestamp(now);
    let object = match &known.failure {
        Some((since, error)) => json!({
            "time": time,
            "event": "error",
            "kind": kind(error.kind()),
            "error": error.to_string(),
            "since": text::timestamp(*since),
            "endpoints": endpoints,
        }),
        None => json!({
            "time": time,
            "event": "endpoints",
            "endpoints": endpoints,
            "added": keys(known.change.added.iter()),
            "removed": keys(known.change.removed.iter().map(evenkeel::Endpoint::key)),
            "changed": keys(known.change.changed.iter()),
            "note": known.note.as_deref(),
        }),
    };
    format!("{object}\n")
}

fn keys<'a>(keys: impl Iterator<Item = &'a EndpointKey>) -> Vec<&'a str> {
    keys.map(EndpointKey::as_str).collect()
}

fn kind(kind: ResolveErrorKind) -> &'static str {
    match kind {
        ResolveErrorKind::InvalidTarget => "invalid_target",
        ResolveErrorKind::NotFound => "not_found",
        ResolveErrorKind::Refused => "refused",
        ResolveErrorKind::Malformed => "malformed",
        ResolveErrorKind::Unavailable => "unavailable",
        _ => "other",
    }
}
