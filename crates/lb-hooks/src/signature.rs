//! Signed bodies: who receives one knows that it comes from somebody with the secret, and when it was sent.
//!
//! The form is that of the *Standard Webhooks* specification, for which receivers in many languages exist. A request has three headers:
//!
//! | header | what |
//! |---|---|
//! | `webhook-id` | names the message; the same again when it is sent again, so that a receiver can drop repetitions |
//! | `webhook-timestamp` | when this attempt was sent, in seconds since 1970 |
//! | `webhook-signature` | `v1,` and a base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`; several with spaces between while keys rotate |
//!
//! A receiver computes the same over the body **as it arrived**, before any parsing, compares in constant time, accepts if any of the
//! signatures is right, refuses timestamps that are more than five minutes off, and remembers ids for that long. [`Signer::verify`] does
//! all but the last.
//!
//! The body is signed, not encrypted: use `https` where events are nobody else's business.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use lb_core::ConfigError;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What secrets in text begin with.
const PREFIX: &str = "whsec_";

/// The only version of signatures with a shared secret.
const VERSION: &str = "v1,";

/// As the specification has it: 192 to 512 bits.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The one of today and those of a few rotations.
const MOST_KEYS: usize = 4;

/// More signatures than anybody rotates keys; the rest is not looked at.
const MOST_SIGNATURES: usize = 16;

/// Signs bodies, and verifies them. Holds 1 to 4 secrets, all of which sign: to rotate, add a new one, have receivers change, take the
/// old one away.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<Hmac<Sha256>>,
}

/// Why a message is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// No signature is of a secret that is known, or the message was changed.
    #[error("no signature is right")]
    Signature,
    /// It was sent too long ago, or in the future: sent again by somebody else, or a clock is wrong.
    #[error("the timestamp is too far from now")]
    Timestamp,
}

impl Signer {
    /// Secrets as texts, `whsec_` and base64 of 24 to 64 random bytes.
    ///
    /// # Errors
    /// Another form, or not 1 to 4 of them. The error does not hold the secret.
    pub fn new<T: AsRef<str>>(secrets: impl IntoIterator<Item = T>) -> Result<Self, ConfigError> {
        let keys = secrets.into_iter().map(|secret| key(secret.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if !(1..=MOST_KEYS).contains(&keys.len()) {
            let allowed = format!("1 to {MOST_KEYS} secrets");
            return Err(ConfigError::new("hooks.secrets", format!("{} secrets", keys.len()), allowed));
        }
        Ok(Self { keys })
    }

    /// The value of `webhook-signature` for a message; `timestamp` in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signatures: Vec<String> =
            self.keys.iter().map(|key| format!("{VERSION}{}", BASE64.encode(mac(key, id, timestamp, body)))).collect();
        signatures.join(" ")
    }

    /// Whether a message is genuine, for receivers: its three headers, its body as it arrived, `now` in seconds since 1970, and how far
    /// its timestamp may be from that; five minutes is usual. Compares in constant time.
    ///
    /// # Errors
    /// It is not, and why.
    pub fn verify(
        &self,
        id: &str,
        timestamp: u64,
        signatures: &str,
        body: &[u8],
        now: u64,
        tolerance: Duration,
    ) -> Result<(), Unverified> {
        let right: Vec<_> = self.keys.iter().map(|key| mac(key, id, timestamp, body)).collect();
        let given = signatures.split(' ').take(MOST_SIGNATURES).filter_map(|text| text.strip_prefix(VERSION));
        let genuine = given
            .filter_map(|text| BASE64.decode(text).ok())
            .any(|given| right.iter().any(|right| bool::from(right.ct_eq(&given))));
        if !genuine {
            return Err(Unverified::Signature);
        }
        if now.abs_diff(timestamp) > tolerance.as_secs() { Err(Unverified::Timestamp) } else { Ok(()) }
    }
}

impl fmt::Debug for Signer {
    /// Secrets are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer of {} secrets", self.keys.len())
    }
}

fn key(secret: &str) -> Result<Hmac<Sha256>, ConfigError> {
    let error = |what: &str| ConfigError::new("hooks.secrets", what, "`whsec_` and base64 of 24 to 64 bytes");
    let text = secret.strip_prefix(PREFIX).ok_or_else(|| error("one that does not begin with `whsec_`"))?;
    let bytes = BASE64.decode(text).map_err(|_| error("one that is not base64"))?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(error(&format!("one of {} bytes", bytes.len())));
    }
    Hmac::new_from_slice(&bytes).map_err(|_| error("one that is no key"))
}

fn mac(key: &Hmac<Sha256>, id: &str, timestamp: u64, body: &[u8]) -> [u8; 32] {
    let mut mac = key.clone();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const TOLERANCE: Duration = Duration::from_secs(300);

    /// Computed with other implementations of HMAC and base64.
    #[test]
    fn signs_as_others_do() {
        let signed = Signer::new([SECRET]).expect("a secret").sign("msg_1", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,9o7UeFkn1GjVbcY4emAJruJCYqgH2EIf8u/slvVRBZI=");
    }

    #[test]
    fn only_what_was_signed_is_verified() {
        let other = format!("whsec_{}", BASE64.encode([7; 24]));
        let (old, new) = (Signer::new([SECRET]).expect("old"), Signer::new([other.as_str()]).expect("new"));
        let both = Signer::new([SECRET, &other]).expect("both").sign("a", 1000, b"body");
        for signer in [&old, &new] {
            assert_eq!(signer.verify("a", 1000, &both, b"body", 1300, TOLERANCE), Ok(()));
            assert_eq!(signer.verify("a", 1000, &both, b"bodY", 1000, TOLERANCE), Err(Unverified::Signature));
            assert_eq!(signer.verify("b", 1000, &both, b"body", 1000, TOLERANCE), Err(Unverified::Signature));
            assert_eq!(signer.verify("a", 1001, &both, b"body", 1000, TOLERANCE), Err(Unverified::Signature));
            assert_eq!(signer.verify("a", 1000, &both, b"body", 1301, TOLERANCE), Err(Unverified::Timestamp));
            assert_eq!(signer.verify("a", 1000, &both, b"body", 699, TOLERANCE), Err(Unverified::Timestamp));
        }
        assert_eq!(new.verify("a", 1000, &old.sign("a", 1000, b"body"), b"body", 1000, TOLERANCE), Err(Unverified::Signature));
        for hostile in ["", " ", "v1,", "v1,AA==", "v2,AA==", "v1", &"v1,! ".repeat(10_000)] {
            assert_eq!(old.verify("a", 1000, hostile, b"body", 1000, TOLERANCE), Err(Unverified::Signature), "{hostile}");
        }
    }

    #[test]
    fn secrets_are_checked_and_not_told() {
        let short = format!("whsec_{}", BASE64.encode([1; 23]));
        let long = format!("whsec_{}", BASE64.encode([1; 65]));
        for bad in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_!", &short, &long] {
            let error = Signer::new([bad]).expect_err(bad).to_string();
            assert!(error.contains("hooks.secrets") && (bad.len() < 7 || !error.contains(bad)), "{error}");
        }
        assert!(Signer::new([SECRET; 5]).is_err());
        assert!(Signer::new([""; 0]).is_err());
        assert!(!format!("{:?}", Signer::new([SECRET]).expect("a secret")).contains("MfKQ"));
    }
}
