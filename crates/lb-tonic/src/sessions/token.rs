//! Tokens: the caller carries where it belongs.
//!
//! A token is base64url of: a version (1 byte), when it was made and when it ends (seconds since 1970, 8 bytes each), the name of the
//! endpoint, and an HMAC-SHA256 over all that (32 bytes). It says nothing of who carries it, and is no proof of anything but that a
//! channel with the key once sent a call there. **It is signed, not encrypted**: who has it can read the name of the endpoint, an
//! address unless endpoints go by [id](crate::SessionConfig::across_services).
//!
//! A token that cannot be read, was tampered with, is of an unknown key or too old is ignored and counted; the call is placed like
//! one without, and brings a new token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use lb_core::ConfigError;
use serde::Serialize;
use sha2::Sha256;

use super::carrier::Carrier;

/// The promised time to live.
const TTL: Duration = Duration::from_secs(30 * 60);

/// A key as long as what it makes (RFC 2104, section 3).
const LEAST_KEY: usize = 32;

/// The one that signs, and those of a few rotations before.
const MOST_KEYS: usize = 8;

/// A name of an endpoint with a dozen addresses has 600 bytes; nobody is made to decode more than this.
const MOST_TEXT: usize = 4096;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 8;
const MAC: usize = 32;

/// Makes and reads tokens.
pub struct SessionTokens {
    /// The first signs, all verify.
    keys: Vec<Hmac<Sha256>>,
    ttl: Duration,
    path: String,
    carrier: Carrier,
    counters: Counters,
}

/// What became of calls and their tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TokenStats {
    /// Calls that went where their token said.
    pub hits: u64,
    /// Calls without a token that could be used; their responses brought one.
    pub misses: u64,
    /// Calls whose token named an endpoint that could not take them; their responses brought a new one.
    pub moved: u64,
    /// Calls that went elsewhere and kept their token.
    pub lent: u64,
    /// Tokens that were genuine, and too old.
    pub expired: u64,
    /// Tokens that were not genuine: unreadable, tampered with, or of a key that is not known, or no longer.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    moved: AtomicU64,
    lent: AtomicU64,
    expired: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    Expired,
    Refused,
}

impl SessionTokens {
    /// Tokens signed with the first of these keys and verified with each: to rotate, put a new key first and leave the old ones for as
    /// long as tokens live. 1 to 8 keys of at least 32 bytes, from a good source of randomness.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Result<Self, ConfigError> {
        let mut made = Vec::new();
        for key in keys {
            let key = key.as_ref();
            let error = |_| ConfigError::new("sessions.token.keys", format!("a key of {} bytes", key.len()), "32 bytes or more");
            if key.len() < LEAST_KEY {
                return Err(error(()));
            }
            made.push(Hmac::new_from_slice(key).map_err(|_| error(()))?);
        }
        if !(1..=MOST_KEYS).contains(&made.len()) {
            let allowed = format!("1 to {MOST_KEYS} keys");
            return Err(ConfigError::new("sessions.token.keys", format!("{} keys", made.len()), allowed));
        }
        Ok(Self { keys: made, ttl: TTL, path: "/".to_owned(), carrier: Carrier::default(), counters: Counters::default() })
    }

    /// How long a token is good for, in whole seconds; default 30 min, at least 1 s.
    pub fn ttl(mut self, ttl: Duration) -> Result<Self, ConfigError> {
        if ttl < Duration::from_secs(1) {
            return Err(ConfigError::new("sessions.token.ttl", format!("{ttl:?}"), "1 s or more"));
        }
        self.ttl = ttl;
        Ok(self)
    }

    /// Only for calls below this path, such as `/orders.v1.Orders` for one service; others neither follow tokens nor get any. Default `/`,
    /// all calls. Begins with a slash, and holds no semicolon or control character.
    pub fn path(mut self, path: &str) -> Result<Self, ConfigError> {
        if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b';') {
            let allowed = "a path that begins with a slash, of visible ASCII without semicolons";
            return Err(ConfigError::new("sessions.token.path", format!("{path:?}"), allowed));
        }
        self.path = path.to_owned();
        Ok(self)
    }

    /// Carries tokens in a cookie: `cookie` of the request, `set-cookie` in the response's metadata. The default, under the name
    /// `evenkeel-session`. The name is a token of RFC 6265.
    pub fn cookie(mut self, name: &str) -> Result<Self, ConfigError> {
        self.carrier = Carrier::cookie(name)?;
        Ok(self)
    }

    /// Carries tokens in metadata of this name, of the request and of the response.
    pub fn metadata(mut self, name: &str) -> Result<Self, ConfigError> {
        self.carrier = Carrier::metadata(name)?;
        Ok(self)
    }

    /// What became of calls and their tokens so far.
    pub(crate) fn stats(&self) -> TokenStats {
        let Counters { hits, misses, moved, lent, expired, refused } = &self.counters;
        let [hits, misses, moved, lent, expired, refused] =
            [hits, misses, moved, lent, expired, refused].map(|counter| counter.load(Ordering::Relaxed));
        TokenStats { hits, misses, moved, lent, expired, refused }
    }

    pub(super) fn count(&self) -> &Counters {
        &self.counters
    }

    /// Whether calls of this path follow tokens (RFC 6265, section 5.1.4).
    pub(super) fn covers(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'))
    }

    /// The endpoint that the token of a request names. Of several tokens the first that is good counts.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let now = unix_seconds();
        for text in self.carrier.find(headers) {
            match self.open(text, now) {
                Ok(home) => return Some(home),
                Err(Unusable::Expired) => add(&self.counters.expired),
                Err(Unusable::Refused) => add(&self.counters.refused),
            }
        }
        None
    }

    /// Adds a token for this endpoint to a response.
    pub(super) fn write(&self, home: &str, headers: &mut HeaderMap) {
        self.carrier.add(headers, &self.seal(home, unix_seconds()), &self.path, self.ttl);
    }

    fn seal(&self, home: &str, now: u64) -> String {
        let mut token = Vec::with_capacity(HEAD + home.len() + MAC);
        token.push(VERSION);
        token.extend(now.to_be_bytes());
        token.extend(now.saturating_add(self.ttl.as_secs()).to_be_bytes());
        token.extend(home.as_bytes());
        let mac = self.keys[0].clone().chain_update(&token).finalize().into_bytes();
        token.extend(mac);
        BASE64.encode(token)
    }

    fn open(&self, text: &str, now: u64) -> Result<Arc<str>, Unusable> {
        if text.len() > MOST_TEXT {
            return Err(Unusable::Refused);
        }
        let token = BASE64.decode(text).map_err(|_| Unusable::Refused)?;
        let (signed, mac) = token.split_last_chunk::<MAC>().ok_or(Unusable::Refused)?;
        // Compared in constant time, and looked into only when it is genuine.
        if !self.keys.iter().any(|key| key.clone().chain_update(signed).verify_slice(mac).is_ok()) {
            return Err(Unusable::Refused);
        }
        let (head, home) = signed.split_first_chunk::<HEAD>().ok_or(Unusable::Refused)?;
        let [VERSION, .., e0, e1, e2, e3, e4, e5, e6, e7] = *head else { return Err(Unusable::Refused) };
        if now >= u64::from_be_bytes([e0, e1, e2, e3, e4, e5, e6, e7]) {
            return Err(Unusable::Expired);
        }
        std::str::from_utf8(home).map(Arc::from).map_err(|_| Unusable::Refused)
    }
}

impl Counters {
    pub(super) fn hits(&self) {
        add(&self.hits);
    }

    /// A call that the policy placed, with or without a good token.
    pub(super) fn placed(&self, lent: bool, had_token: bool) {
        add(match (lent, had_token) {
            (true, _) => &self.lent,
            (false, true) => &self.moved,
            (false, false) => &self.misses,
        });
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl fmt::Debug for SessionTokens {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTokens").field("carrier", &self.carrier).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
