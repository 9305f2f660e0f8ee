use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

fn request(headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

fn filled(mut interceptor: impl Interceptor, request: Request<()>) -> PickOptions {
    interceptor.call(request).unwrap().extensions().get::<PickOptions>().cloned().unwrap_or_default()
}

fn session(interceptor: FillOptions, headers: &[(&'static str, &str)]) -> Option<String> {
    filled(interceptor, request(headers)).hints().session.as_deref().map(str::to_owned)
}

fn token(payload: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
}

#[test]
fn headers_become_wishes_and_the_calls_own_win() {
    let region = FillOptions::region().by_header("X-Region");
    let headers = [("x-region", " eu-west-1 ")];
    assert_eq!(filled(region.clone(), request(&headers)), PickOptions::new().prefer_region("eu-west-1"));
    let key = FillOptions::hash_key().by_header("x-region");
    assert_eq!(filled(key, request(&headers)), PickOptions::new().hash_key("eu-west-1"));
    let mut own = request(&headers);
    own.extensions_mut().insert(PickOptions::new().prefer_region("us").require("gpu"));
    assert_eq!(filled(region, own), PickOptions::new().prefer_region("us").require("gpu"));
    let unset = filled(FillOptions::session(), request(&headers));
    assert_eq!(unset, PickOptions::new(), "no source, no wish");
    assert_eq!(session(FillOptions::session().by_header("not a header name\n"), &headers), None);
}

#[test]
fn values_that_cannot_be_wishes_are_none() {
    let long = "x".repeat(MAX_VALUE + 1);
    for value in ["", " ", &long] {
        assert_eq!(session(FillOptions::session().by_header("sid"), &[("sid", value)]), None, "{value:?}");
    }
    let longest = &long[1..];
    assert_eq!(session(FillOptions::session().by_header("sid"), &[("sid", longest)]).as_deref(), Some(longest));
    let mut bytes = Request::new(());
    let value = http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    bytes.metadata_mut().as_mut().insert("sid", value);
    assert_eq!(filled(FillOptions::session().by_header("sid"), bytes), PickOptions::new());
}

#[test]
fn cookies_are_read_as_the_rfc_has_them() {
    let read = |lists: &[&str]| {
        let headers: Vec<_> = lists.iter().map(|list| ("cookie", *list)).collect();
        session(FillOptions::session().by_cookie("sid"), &headers)
    };
    for (lists, expected) in [
        (&["sid=abc"][..], Some("abc")),
        (&["a=1; sid=abc; b=2"], Some("abc")),
        (&["a=1;sid=abc"], Some("abc")),
        (&["a=1", "sid=abc"], Some("abc")),
        (&["sid=\"abc\""], Some("abc")),
        (&["sid=a=b=="], Some("a=b==")),
        (&["sid=first; sid=second"], Some("first")),
        (&["SID=abc"], None),
        (&["xsid=abc; sidx=abc"], None),
        (&["sid"], None),
        (&["sid="], None),
        (&["sid=\"\""], None),
        (&["sid=a b"], None),
        (&["sid=a\\b"], None),
        (&["sid=\"abc"], None),
        (&[";;;===;; =;"], None),
        (&[""], None),
    ] {
        assert_eq!(read(lists).as_deref(), expected, "{lists:?}");
    }
}

#[test]
fn claims_are_read_and_nothing_is_verified() {
    let read =
        |header: &str, claim: &str| session(FillOptions::session().by_jwt("authorization", claim), &[("authorization", header)]);
    let good = token(
        r#"{"sub": "user-1", "org": 42, "beta": true, "https://x.example/r": "eu", "share": 0.5, "roles": ["a"], "none": null}"#,
    );
    for (claim, expected) in [
        ("sub", Some("user-1")),
        ("org", Some("42")),
        ("beta", Some("true")),
        ("https://x.example/r", Some("eu")),
        ("share", None),
        ("roles", None),
        ("none", None),
        ("missing", None),
    ] {
        assert_eq!(read(&format!("Bearer {good}"), claim).as_deref(), expected, "{claim}");
    }
    assert_eq!(read(&format!("bEARER  {good}"), "sub").as_deref(), Some("user-1"));
    assert_eq!(read(&good, "sub").as_deref(), Some("user-1"), "without a scheme");
    let huge = token(&format!(r#"{{"sub": "a", "pad": "{}"}}"#, "x".repeat(8192)));
    let deep = token(&format!(r#"{{"sub": "a", "deep": {}}}"#, "[".repeat(2000)));
    let long = token(&format!(r#"{{"sub": "{}"}}"#, "x".repeat(MAX_VALUE + 1)));
    for bad in [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "a.b",
        "a.b.c.d.e",
        "...",
        "a.!!!.c",
        "a.e30=.c",
        &format!("Basic {good}"),
        &token(""),
        &token("not json"),
        &token(r#"["sub"]"#),
        &token(r#"{"sub": ""}"#),
        &huge,
        &deep,
        &long,
    ] {
        assert_eq!(read(bad, "sub"), None, "{bad:.60}");
    }
}

#[test]
fn addresses_come_from_the_peer_or_a_proxy() {
    let mut peer = Request::new(());
    peer.extensions_mut().insert(PeerAddress::from("[::ffff:10.1.2.3]:5000".parse::<std::net::SocketAddr>().unwrap()));
    assert_eq!(filled(FillOptions::hash_key().by_peer(), peer), PickOptions::new().hash_key("10.1.2.3"));
    for (list, expected) in [
        ("10.1.2.3", Some("10.1.2.3")),
        ("10.1.2.3:80, 10.9.9.9", Some("10.1.2.3")),
        ("2001:DB8::1", Some("2001:db8::1")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("::ffff:10.1.2.3", Some("10.1.2.3")),
        ("for=10.1.2.3;proto=https, for=10.9.9.9", Some("10.1.2.3")),
        ("proto=https; For=\"[2001:db8::1]:443\"", Some("2001:db8::1")),
        ("unknown", None),
        ("for=_hidden", None),
        ("for=", None),
        ("ä=1", None),
        (",10.1.2.3", None),
        ("", None),
    ] {
        let mut request = Request::new(());
        let value = http::HeaderValue::from_bytes(list.as_bytes()).unwrap();
        request.metadata_mut().as_mut().insert("x-forwarded-for", value);
        let options = filled(FillOptions::session().by_forwarded("x-forwarded-for"), request);
        assert_eq!(options.hints().session.as_deref(), expected, "{list}");
    }
}

#[test]
fn interceptors_follow_one_another_and_a_refusal_ends_it() {
    let region_of = |address: &str| address.starts_with("10.1.").then(|| "eu".to_owned());
    let chain = FillOptions::session()
        .by_cookie("sid")
        .then(FillOptions::region().by_forwarded("x-forwarded-for").map(region_of))
        .then(PickOptions::new().require("gpu").session("default"))
        .then(|mut request: Request<()>| {
            request.metadata_mut().insert("seen", "yes".parse().unwrap());
            Ok(request)
        });
    let sent = request(&[("cookie", "sid=s1"), ("x-forwarded-for", "10.1.2.3")]);
    let sent = chain.clone().call(sent).unwrap();
    assert!(sent.metadata().contains_key("seen"));
    let expected = PickOptions::new().session("s1").prefer_region("eu").require("gpu");
    assert_eq!(sent.extensions().get::<PickOptions>(), Some(&expected));
    let elsewhere = filled(chain.clone(), request(&[("x-forwarded-for", "192.0.2.1")]));
    assert_eq!(elsewhere, PickOptions::new().require("gpu").session("default"));
    let refuse = |_: Request<()>| Err(Status::permission_denied("no"));
    let mut refused = FillOptions::session().by_header("sid").then(refuse).then(chain);
    assert_eq!(refused.call(request(&[])).unwrap_err().message(), "no");
}
