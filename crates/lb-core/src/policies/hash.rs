//! What hashing policies hash: calls, and endpoints.
//!
//! The hash is XXH64 with seed 0, as gRPC and Envoy have it, so that clients of all kinds agree where a key belongs. A call's key
//! is, first match: the hash key it was given, its session, the configured header. Without any of them the call has no place of its
//! own: its hash is random, or there is none.
//!
//! Source: gRFC A42, A76; Collet, "xxHash" (specification of XXH64).

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use serde_json::Value;
use xxhash_rust::xxh64::{Xxh64, xxh64};

use crate::endpoint::Endpoint;
use crate::pick::PickArgs;
use crate::policy::ConfigError;

/// XXH64 with seed 0.
#[inline]
pub(super) fn hash(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// XXH64 with another seed.
#[inline]
pub(super) fn seeded(bytes: &[u8], seed: u64) -> u64 {
    xxh64(bytes, seed)
}

/// What names an endpoint to hashing policies: its id, else its first address.
pub(super) fn endpoint_key(endpoint: &Endpoint) -> Arc<str> {
    match &endpoint.attributes.id {
        Some(id) if !id.is_empty() => Arc::clone(id),
        _ => endpoint.addresses()[0].to_string().into(),
    }
}

/// The hash of what names an endpoint: the same for all clients.
pub(crate) fn endpoint_hash(endpoint: &Endpoint) -> u64 {
    hash(endpoint_key(endpoint).as_bytes())
}

/// The hash of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashed {
    /// Of the call's key.
    Key(u64),
    /// By chance: the call has no key, and any endpoint is as good.
    Random(u64),
    /// The call has no key and needs one.
    Missing,
}

/// How a call's key becomes a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As it is.
    Text,
    /// As a client's address, the same however it is written.
    Address,
}

/// Where the hash of a call comes from.
#[derive(Debug, Clone)]
pub(super) struct CallHash {
    header: Option<HeaderName>,
    reading: Reading,
    /// Whether a call without key gets a random hash although no header is configured.
    random: bool,
}

impl CallHash {
    /// As `ring_hash` has it: without a header configured, a call without key has no hash.
    pub(super) fn strict(policy: &str, config: &Value) -> Result<Self, ConfigError> {
        Ok(Self { header: header(policy, config)?, reading: Reading::Text, random: false })
    }

    /// A call without key goes anywhere.
    pub(super) fn lenient(policy: &str, config: &Value) -> Result<Self, ConfigError> {
        Ok(Self { random: true, ..Self::strict(policy, config)? })
    }

    /// The same for keys that are addresses of clients.
    pub(super) fn of_addresses(policy: &str, config: &Value) -> Result<Self, ConfigError> {
        Ok(Self { reading: Reading::Address, ..Self::lenient(policy, config)? })
    }

    /// The hash of this call.
    #[inline]
    pub(super) fn of(&self, args: &mut PickArgs<'_>) -> Hashed {
        let given = args.hints.hash_key.as_deref().or_else(|| args.hints.session.as_deref().map(str::as_bytes));
        let hash = given.map(|key| self.read(key)).or_else(|| self.of_header(args));
        args.key = hash;
        match hash {
            Some(hash) => Hashed::Key(hash),
            None if self.random || self.header.is_some() => Hashed::Random(args.scratch.random()),
            None => Hashed::Missing,
        }
    }

    #[inline]
    fn read(&self, key: &[u8]) -> u64 {
        match self.reading {
            Reading::Text => hash(key),
            Reading::Address => hash_address(key),
        }
    }

    /// Several values are one text, joined by commas; of addresses only the first counts. An empty header counts as absent.
    fn of_header(&self, args: &PickArgs<'_>) -> Option<u64> {
        let mut values = args.headers.get_all(self.header.as_ref()?).iter();
        let first = values.next()?;
        let second = values.next().filter(|_| self.reading == Reading::Text);
        match second {
            None => Some(first.as_bytes()).filter(|value| !value.is_empty()).map(|value| self.read(value)),
            Some(second) => Some(hash_joined(first, second, values)),
        }
    }
}

fn hash_joined<'a>(first: &HeaderValue, second: &'a HeaderValue, others: impl Iterator<Item = &'a HeaderValue>) -> u64 {
    let mut state = Xxh64::new(0);
    state.update(first.as_bytes());
    for value in [second].into_iter().chain(others) {
        state.update(b",");
        state.update(value.as_bytes());
    }
    state.digest()
}

/// The field `requestHashHeader`; empty is none.
fn header(policy: &str, config: &Value) -> Result<Option<HeaderName>, ConfigError> {
    let field = || format!("{policy}.requestHashHeader");
    let allowed = "the name of a header, not ending in -bin";
    match config.get("requestHashHeader") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) => match name.to_ascii_lowercase().parse::<HeaderName>() {
            Ok(parsed) if !parsed.as_str().ends_with("-bin") => Ok(Some(parsed)),
            _ => Err(ConfigError::new(field(), format!("{name:?}"), allowed)),
        },
        Some(other) => Err(ConfigError::new(field(), other, allowed)),
    }
}

/// The hash of the first client in a list such as those of `x-forwarded-for` and `forwarded`: of its address if it is one, without
/// port and however it is written; else of its text.
fn hash_address(list: &[u8]) -> u64 {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    // Most often it is just an address.
    if let Some(address) = text(list).and_then(|text| text.parse().ok()) {
        return hash_ip(address);
    }
    let first = first_client(list);
    text(first).and_then(address).map_or_else(|| hash(first), hash_ip)
}

/// An IPv4 address within IPv6 is the IPv4 address.
fn hash_ip(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

/// `192.0.2.1` of `192.0.2.1, 10.0.0.1`, and of `for=192.0.2.1;proto=https, for=10.0.0.1`.
fn first_client(list: &[u8]) -> &[u8] {
    let element = list.split(|byte| *byte == b',').next().unwrap_or_default();
    let named = |part: &&[u8]| part.len() > 4 && part[..4].eq_ignore_ascii_case(b"for=");
    let parts = || element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let value = parts().find(named).map_or_else(|| element.trim_ascii(), |part| &part[4..]);
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// An address with or without port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
    let bare = bare.or_else(|| text.rsplit_once(':').map(|(front, _)| front).filter(|front| !front.contains(':')));
    bare.unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::hints::PickHints;
    use crate::policies::testing::start;
    use crate::scratch::Scratch;

    fn hashed(by: &CallHash, headers: &[(&'static str, &str)], hints: &PickHints, seed: u64) -> Hashed {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| _ = map.append(*name, value.parse().unwrap()));
        let now: Instant = start();
        by.of(&mut PickArgs::new(now, "/s/m", &map, hints, &mut Scratch::new(seed)))
    }

    fn by_header(name: &str) -> CallHash {
        CallHash::strict("p", &json!({"requestHashHeader": name})).unwrap()
    }

    #[test]
    fn published_hashes() {
        assert_eq!([hash(b""), hash(b"a"), hash(b"abc")], [0xef46_db37_51d8_e999, 0xd24e_c4f1_a98c_6e5b, 0x44bc_2cf5_ad77_0999]);
        assert_eq!([hash(b"a_0"), hash(b"b_0")], [7_866_922_100_246_443_948, 5_637_671_355_026_233_228]);
        assert_eq!([hash(b"127.0.0.1:8000_0"), hash(b"10.0.0.1:80_0")], [12_181_538_482_057_341_176, 8_431_885_850_995_268_104]);
    }

    #[test]
    fn the_header_is_checked_and_lower_cased() {
        let parsed = |value: Value| CallHash::strict("p", &json!({"requestHashHeader": value})).map(|by| by.header);
        assert_eq!(parsed(json!("Foo")).unwrap().unwrap().as_str(), "foo");
        assert_eq!((parsed(json!("")), parsed(json!(null))), (Ok(None), Ok(None)));
        for bad in [json!("foo-bin"), json!("FOO-Bin"), json!("f@o:o"), json!("a b"), json!(1), json!([])] {
            assert_eq!(parsed(bad.clone()).unwrap_err().field, "p.requestHashHeader", "{bad}");
        }
    }

    #[test]
    fn a_given_key_goes_before_the_session_and_that_before_the_header() {
        let by = by_header("user");
        let mut hints = PickHints::default();
        let headers = [("user", "header")];
        assert_eq!(hashed(&by, &headers, &hints, 1), Hashed::Key(hash(b"header")));
        hints.session = Some("session".into());
        assert_eq!(hashed(&by, &headers, &hints, 1), Hashed::Key(hash(b"session")));
        hints.hash_key = Some(b"key"[..].into());
        assert_eq!(hashed(&by, &headers, &hints, 1), Hashed::Key(hash(b"key")));
        assert_eq!(hashed(&CallHash::strict("p", &json!({})).unwrap(), &[], &hints, 1), Hashed::Key(hash(b"key")));
    }

    #[test]
    fn several_values_are_joined_and_none_is_random() {
        let (by, hints) = (by_header("user"), PickHints::default());
        assert_eq!(hashed(&by, &[("user", "a"), ("user", "b"), ("user", "c")], &hints, 1), Hashed::Key(hash(b"a,b,c")));
        for headers in [&[][..], &[("user", "")], &[("other", "a")]] {
            let Hashed::Random(one) = hashed(&by, headers, &hints, 1) else { panic!("{headers:?}") };
            assert_ne!(hashed(&by, headers, &hints, 2), Hashed::Random(one));
        }
        assert_eq!(hashed(&CallHash::strict("p", &json!({})).unwrap(), &[("user", "a")], &hints, 1), Hashed::Missing);
        assert!(matches!(hashed(&CallHash::lenient("p", &json!({})).unwrap(), &[], &hints, 1), Hashed::Random(_)));
    }

    #[test]
    fn an_endpoint_is_its_id_or_its_first_address() {
        let mut endpoint = Endpoint::with_addresses(["10.0.0.2:1", "10.0.0.1:1"].map(|text| text.parse().unwrap())).unwrap();
        assert_eq!(&*endpoint_key(&endpoint), "10.0.0.2:1");
        endpoint.attributes.id = Some("".into());
        assert_eq!(&*endpoint_key(&endpoint), "10.0.0.2:1");
        endpoint.attributes.id = Some("orders-1".into());
        assert_eq!(&*endpoint_key(&endpoint), "orders-1");
    }

    #[test]
    fn one_client_has_one_hash_however_it_is_written() {
        let v4 = hash(&[192, 0, 2, 1]);
        for text in [
            "192.0.2.1",
            "192.0.2.1:4711",
            " 192.0.2.1 , 10.0.0.1",
            "for=192.0.2.1;proto=https, for=10.0.0.1",
            "proto=https; For=\"192.0.2.1:4711\"",
            "::ffff:192.0.2.1",
            "[::ffff:c000:201]:80",
        ] {
            assert_eq!(hash_address(text.as_bytes()), v4, "{text}");
        }
        let v6 = hash(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for text in ["2001:db8::1", "2001:DB8:0:0::1", "[2001:db8::1]", "for=\"[2001:db8::1]:4711\""] {
            assert_eq!(hash_address(text.as_bytes()), v6, "{text}");
        }
        assert_eq!(hash_address(b"for=_hidden, for=10.0.0.1"), hash(b"_hidden"));
        for hostile in [&b""[..], b",", b"for=", b"\xff\xfe", b"[", b":", b"\"", b"for=\""] {
            let _ = hash_address(hostile);
        }
    }

    #[test]
    fn of_addresses_only_the_first_value_counts() {
        let by = CallHash::of_addresses("p", &json!({"requestHashHeader": "x-forwarded-for"})).unwrap();
        let headers = [("x-forwarded-for", "192.0.2.1, 10.0.0.1"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(hashed(&by, &headers, &PickHints::default(), 1), Hashed::Key(hash(&[192, 0, 2, 1])));
        let hints = PickHints { hash_key: Some(b"192.0.2.1"[..].into()), ..PickHints::default() };
        assert_eq!(hashed(&by, &[], &hints, 1), Hashed::Key(hash(&[192, 0, 2, 1])));
    }
}
