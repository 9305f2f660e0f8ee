//! Tokens against everybody who might carry them.

use super::*;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 40] = [2; 40];
const NOW: u64 = 1_800_000_000;

fn tokens<const N: usize>(keys: [&[u8]; N]) -> SessionTokens {
    SessionTokens::new(keys).unwrap()
}

#[test]
fn what_is_sealed_opens_until_it_ends() {
    let tokens = tokens([&OLD]);
    for home in ["10.0.0.1:50051", "[::1]:1,10.0.0.1:1", "node-7", "", "knoten-ä"] {
        let token = tokens.seal(home, NOW);
        assert_eq!(tokens.open(&token, NOW).as_deref(), Ok(home));
        assert_eq!(tokens.open(&token, NOW + 1799).as_deref(), Ok(home));
        assert_eq!(tokens.open(&token, NOW + 1800), Err(Unusable::Expired));
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "fit for a cookie: {token}");
    }
    let endless = tokens.ttl(Duration::MAX).unwrap();
    assert!(endless.open(&endless.seal("x", NOW), u64::MAX - 1).is_ok());
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    let tokens = tokens([&OLD, &NEW]);
    let bytes = BASE64.decode(tokens.seal("10.0.0.1:50051", NOW)).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut tampered = bytes.clone();
            tampered[at] ^= 1 << bit;
            assert_eq!(tokens.open(&BASE64.encode(tampered), NOW), Err(Unusable::Refused), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn no_character_of_a_token_can_be_changed_dropped_or_added() {
    let tokens = tokens([&OLD]);
    // Two lengths, so that the last character has bits that mean nothing.
    for home in ["10.0.0.1:50051", "10.0.0.1:5005", "10.0.0.1:505"] {
        let text = tokens.seal(home, NOW);
        for at in 0..text.len() {
            for other in "ABCxyz019-_=. ;\"".chars().filter(|other| !text[at..].starts_with(*other)) {
                let tampered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert_eq!(tokens.open(&tampered, NOW), Err(Unusable::Refused), "{at} {other}");
            }
            let dropped = format!("{}{}", &text[..at], &text[at + 1..]);
            assert_eq!(tokens.open(&dropped, NOW), Err(Unusable::Refused), "without {at}");
            assert_eq!(tokens.open(&text[..at], NOW), Err(Unusable::Refused), "cut at {at}");
        }
        for more in ["A", "AA", "AAAA", "="] {
            assert_eq!(tokens.open(&format!("{text}{more}"), NOW), Err(Unusable::Refused));
        }
    }
}

#[test]
fn garbage_is_refused_whatever_its_length() {
    let tokens = tokens([&OLD]);
    for length in 0..200 {
        assert_eq!(tokens.open(&"A".repeat(length), NOW), Err(Unusable::Refused));
        assert_eq!(tokens.open(&BASE64.encode(vec![1; length]), NOW), Err(Unusable::Refused));
    }
    assert_eq!(tokens.open(&"A".repeat(1 << 20), NOW), Err(Unusable::Refused));
    // Genuine, and of a version to come, too short, or no text.
    for content in [vec![2; HEAD + 1], vec![1; HEAD - 1], [&[1][..], &[0xff; 20]].concat()] {
        let mac = tokens.keys[0].clone().chain_update(&content).finalize().into_bytes();
        assert_eq!(tokens.open(&BASE64.encode([&content[..], &mac].concat()), NOW), Err(Unusable::Refused));
    }
}

#[test]
fn keys_rotate_without_anybody_noticing() {
    let (before, during, after) = (tokens([&OLD]), tokens([&NEW, &OLD]), tokens([&NEW]));
    let (old, new) = (before.seal("x", NOW), during.seal("x", NOW));
    assert!(during.open(&old, NOW).is_ok() && during.open(&new, NOW).is_ok());
    assert!(after.open(&new, NOW).is_ok());
    assert_eq!((after.open(&old, NOW), before.open(&new, NOW)), (Err(Unusable::Refused), Err(Unusable::Refused)));
}

#[test]
fn the_mac_is_hmac_sha256() {
    // RFC 4231, test case 2, whose key is too short for our own use.
    let mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap().chain_update(b"what do ya want for nothing?").finalize();
    let hex: String = mac.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

#[test]
fn keys_times_and_names_that_are_no_good() {
    let none: [&[u8]; 0] = [];
    assert!(SessionTokens::new(none).unwrap_err().to_string().contains("0 keys"));
    assert!(SessionTokens::new([[1; 31]]).unwrap_err().to_string().contains("31 bytes"));
    assert!(SessionTokens::new([[1; 32]; 9]).is_err());
    assert!(tokens([&OLD]).ttl(Duration::from_millis(999)).is_err());
    assert!(!format!("{:?}", tokens([&OLD])).contains("1, 1"), "keys are not shown");
}

#[test]
fn a_path_covers_itself_and_what_is_below_it() {
    for (path, covered, not) in [
        ("/", ["/", "/a", "/a.b/C"], ["", "a", "*"]),
        ("/a.b", ["/a.b", "/a.b/", "/a.b/C"], ["/", "/a.bc/D", "/a"]),
        ("/a.b/", ["/a.b/", "/a.b/C", "/a.b/C/D"], ["/a.b", "/a", "/A.b/C"]),
    ] {
        let tokens = tokens([&OLD]).path(path).unwrap();
        assert!(covered.iter().all(|path| tokens.covers(path)) && !not.iter().any(|path| tokens.covers(path)), "{path}");
    }
    for path in ["", "a", "/a;b", "/a b", "/ä", "/a\n"] {
        assert!(tokens([&OLD]).path(path).is_err(), "{path:?}");
    }
}

#[test]
fn requests_bring_tokens_and_responses_new_ones() {
    for tokens in [tokens([&OLD]), tokens([&OLD]).metadata("x-room").unwrap(), tokens([&OLD]).cookie("room").unwrap()] {
        let mut response = HeaderMap::new();
        tokens.write("10.0.0.1:1", &mut response);
        let (name, value) = response.iter().next().unwrap();
        let cookie = value.to_str().unwrap().split(';').next().unwrap().to_owned();
        let name = if name == "set-cookie" { "cookie" } else { "x-room" };
        let mut request = HeaderMap::new();
        request.append(name, cookie.parse().unwrap());
        assert_eq!(tokens.read(&request).as_deref(), Some("10.0.0.1:1"));
        assert_eq!(tokens.read(&HeaderMap::new()), None);
        let mut request = HeaderMap::new();
        request.append(name, format!("{cookie}x").parse().unwrap());
        request.append(name, cookie.parse().unwrap());
        assert_eq!(tokens.read(&request).as_deref(), Some("10.0.0.1:1"), "the first that is good");
        assert_eq!((tokens.stats().refused, tokens.stats().expired), (1, 0));
    }
}
