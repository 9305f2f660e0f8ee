use proptest::prelude::*;

use super::*;

fn registered(scheme: &str) -> bool {
    ["dns", "unix", "unix-abstract", "ipv4", "static", "file", "passthrough"].contains(&scheme)
}

fn target(text: &str) -> Target {
    Target::parse(text, &registered).unwrap()
}

fn kind(text: &str) -> TargetErrorKind {
    Target::parse(text, &registered).unwrap_err().kind
}

#[test]
fn scheme_authority_and_path() {
    for (text, scheme, authority, path) in [
        ("dns:///h:1", "dns", "", "h:1"),
        ("dns://8.8.8.8/h", "dns", "8.8.8.8", "h"),
        ("dns:h:1", "dns", "", "h:1"),
        ("DNS:///h", "dns", "", "h"),
        ("dns://[2001:db8::1]:53/h", "dns", "[2001:db8::1]:53", "h"),
        ("h:1", "dns", "", "h:1"),
        ("[::1]:80", "dns", "", "[::1]:80"),
        ("unix:a/b", "unix", "", "a/b"),
        ("unix-abstract:passthrough:abc", "unix-abstract", "", "passthrough:abc"),
        ("unix-abstract:a:b/c", "unix-abstract", "", "a:b/c"),
        ("passthrough:///unix:///a", "passthrough", "", "unix:///a"),
        ("ipv4:1.2.3.4:1,5.6.7.8:2", "ipv4", "", "1.2.3.4:1,5.6.7.8:2"),
        ("static:///a%20b%2fc", "static", "", "a b/c"),
    ] {
        let parsed = target(text);
        assert_eq!((parsed.scheme(), parsed.authority(), parsed.path()), (scheme, authority, path), "{text}");
        assert_eq!(parsed.as_str(), text);
    }
}

#[test]
fn what_has_no_registered_scheme_is_a_name_for_dns() {
    for text in ["://a/b", "a//b", "a:b", "/unix/socket", "a:///", "nonexist:///x", "1dns:x", "a_b:x", ":80", "::1"] {
        let parsed = target(text);
        assert_eq!((parsed.scheme(), parsed.authority(), parsed.path()), ("dns", "", text));
        assert_eq!(parsed.canonical(), format!("dns:///{text}"));
    }
}

#[test]
fn file_paths_keep_their_slash() {
    for (text, path, file_path) in [
        ("unix:/a", "a", "/a"),
        ("unix:///a", "a", "/a"),
        ("unix:a", "a", "a"),
        ("file:///etc/x%20y.json", "etc/x y.json", "/etc/x y.json"),
    ] {
        assert_eq!((target(text).path(), target(text).file_path()), (path, file_path), "{text}");
    }
}

#[test]
fn an_authority_where_none_belongs_is_an_error() {
    for text in ["unix://a/b/c", "unix://authority", "unix-abstract://authority/x", "ipv4://a/1.2.3.4"] {
        assert!(matches!(kind(text), TargetErrorKind::UnexpectedAuthority { .. }), "{text}");
    }
}

#[test]
fn malformed_texts_are_typed_errors() {
    assert_eq!(kind(""), TargetErrorKind::Empty);
    assert_eq!(kind("dns://a b/h"), TargetErrorKind::AuthorityCharacter(' '));
    assert_eq!(kind("dns://ä/h"), TargetErrorKind::AuthorityCharacter('ä'));
    assert_eq!(kind("dns:///a\nb"), TargetErrorKind::ControlCharacter);
    assert_eq!(kind("unix-abstract:a%00b"), TargetErrorKind::ControlCharacter);
    for text in ["h%", "h%2", "dns:///%zz", "dns:///%ff", "dns:///h?a=%f", "dns://%x/h", "h%€"] {
        assert_eq!(kind(text), TargetErrorKind::PercentEncoding, "{text}");
    }
    let error = Target::parse("dns://a b/h", &registered).unwrap_err();
    assert!(error.to_string().starts_with("target \"dns://a b/h\": the authority holds ' '"), "{error}");
    assert_eq!(error.text(), "dns://a b/h");
}

#[test]
fn the_query_stands_apart() {
    let parsed = target("static:///a,b?tag=blue%26x&flag&tag=a+b&&e==#fragment?no");
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(parsed.path(), "a,b");
    assert_eq!(parsed.query(), [pair("tag", "blue&x"), pair("flag", ""), pair("tag", "a+b"), pair("e", "=")]);
    assert_eq!((parsed.query_value("tag"), parsed.query_value("none")), (Some("a+b"), None));
}

#[test]
fn canonical_form_names_the_scheme() {
    for (text, canonical) in [
        ("no.scheme", "dns:///no.scheme"),
        ("dns:host:port", "dns:///host:port"),
        ("dns://1.1.1.1/h?a=b", "dns://1.1.1.1/h"),
        ("unix:a/b", "unix:a/b"),
        ("unix:/a", "unix:///a"),
        ("static:///a%20b", "static:///a%20b"),
    ] {
        assert_eq!(target(text).canonical(), canonical);
        assert_eq!(target(text).to_string(), canonical);
        assert_eq!(target(canonical).canonical(), canonical, "must be stable");
    }
}

#[test]
fn host_and_port() {
    for (text, host, port) in [
        ("h", "h", 443),
        ("h:1", "h", 1),
        ("dns:///h.:65535", "h.", 65535),
        (":80", "localhost", 80),
        ("::1", "::1", 443),
        ("[::1]", "::1", 443),
        ("[::1]:80", "::1", 80),
        ("10.0.0.1:80", "10.0.0.1", 80),
    ] {
        assert_eq!(target(text).host_port(443).unwrap(), (host.to_owned(), port), "{text}");
    }
}

#[test]
fn bad_host_or_port_is_a_typed_error() {
    let kind = |text: &str| target(text).host_port(443).unwrap_err().kind;
    for text in ["host:", "host:x", "host:65536", "host:+80", ":", "a:///", "[::1]:", "h:80/", "1::2::3"] {
        assert!(matches!(kind(text), TargetErrorKind::Port(_)), "{text}");
    }
    for text in ["dns:///", "dns:", "ho st", "a//b", "hö", "[::1", "[x]:1", "[::1]x", "[fe80::1%25eth0]:1"] {
        assert!(matches!(kind(text), TargetErrorKind::Host(_)), "{text}");
    }
    assert!(matches!(kind(&"a".repeat(255)), TargetErrorKind::Host(reason) if reason.contains("longer than 253")));
}

#[test]
fn default_authorities() {
    for (text, authority) in [
        ("dns://1.1.1.1/h:80", "h:80"),
        (":80", "localhost:80"),
        ("[::1]:80", "[::1]:80"),
        ("unix:/run/x", "localhost"),
        ("unix-abstract:x", "localhost"),
        ("a b/%25é", "a%20b%2F%25%C3%A9"),
        ("dns:///a-._~!$&'()*+,;=@:", "a-._~!$&'()*+,;=@:"),
    ] {
        assert_eq!(target(text).default_authority(), authority, "{text}");
    }
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in any::<String>(), all_known in any::<bool>()) {
        if let Ok(parsed) = Target::parse(&text, &|_| all_known) {
            let _ = (parsed.host_port(1), parsed.default_authority());
            prop_assert_eq!(parsed.as_str(), &text);
        }
    }

    #[test]
    fn nearly_right_text_never_panics(text in "(dns|unix|x)?:?/{0,3}[%0-9a-f:\\[\\]/?#=&. é]{0,20}") {
        if let Ok(parsed) = Target::parse(&text, &registered) {
            let _ = parsed.host_port(1);
            prop_assert!(parsed.default_authority().is_ascii());
            let again = Target::parse(parsed.canonical(), &registered).unwrap();
            prop_assert_eq!((again.scheme(), again.authority(), again.path()), (parsed.scheme(), parsed.authority(), parsed.path()));
        }
    }
}
