//! Who gets in: tokens, roles, pages of other origins, and never anybody from elsewhere without a token.

use lb_admin::{Admin, AdminError, AdminToken};

use crate::client::{ask, get};
use crate::support::{OPERATOR, READER, idle, orders};

const STATS: &str = "/api/v1/loadbalancer/stats";

fn token() -> AdminToken {
    AdminToken::operator("ops", OPERATOR).unwrap()
}

#[tokio::test]
async fn beyond_loopback_it_does_not_start_without_a_token() {
    for exposed in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "[::ffff:0.0.0.0]:0"] {
        let refused = Admin::builder().bind(exposed.parse().unwrap()).read_only(true).serve().await;
        assert!(matches!(refused, Err(AdminError::Exposed(_))), "{exposed}: {refused:?}");
    }
    for own in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0"] {
        match Admin::builder().bind(own.parse().unwrap()).serve().await {
            Ok(admin) => assert!(admin.local_addr().ip().is_loopback()),
            // A machine may have no IPv6; then it is not the rule that refuses.
            Err(refused) => assert!(matches!(refused, AdminError::Bind { .. }), "{own}: {refused}"),
        }
    }
}

#[tokio::test]
async fn names_are_unique() {
    let (one, other) = (idle(&["127.0.0.1:1"]), idle(&["127.0.0.1:1"]));
    let refused = orders(&one).service("orders", &other).serve().await.unwrap_err();
    assert!(matches!(&refused, AdminError::Duplicate(name) if name == "orders"), "{refused}");
}

#[tokio::test]
async fn with_a_token_nothing_but_life_shows_without_it() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).token(token()).serve().await.unwrap();
    let addr = admin.local_addr();
    for path in [STATS, "/metrics", "/nothing", "/api/v1/loadbalancer/instances/orders", "/health/", "//health"] {
        let answer = get(path).of(addr).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="evenkeel""#), "{path}");
        assert!(!answer.body.contains("127.0.0.1"), "{path}");
    }
    assert_eq!(get("/health").of(addr).await.json(), serde_json::json!({ "status": "ok" }));
    assert_eq!(get(STATS).token(OPERATOR).of(addr).await.status, 200);
    assert_eq!(get(STATS).header("authorization", format!("bEARER {OPERATOR}")).of(addr).await.status, 200);
}

#[tokio::test]
async fn a_wrong_token_opens_nothing() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).token(token()).serve().await.unwrap();
    let wrong = ["", "x", &OPERATOR[1..], &format!("{OPERATOR}x"), &OPERATOR.to_uppercase(), "\u{e4}\u{f6}"];
    for wrong in wrong.map(|secret| format!("Bearer {secret}")).into_iter().chain([OPERATOR.into(), format!("Basic {OPERATOR}")]) {
        let answer = get(STATS).header("authorization", wrong.clone()).of(admin.local_addr()).await;
        let detail = answer.problem(401);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{wrong}");
        assert!(!detail.contains(OPERATOR));
    }
    // Not anywhere else either.
    get(format!("{STATS}?token={OPERATOR}&access_token={OPERATOR}")).of(admin.local_addr()).await.problem(401);
}

#[tokio::test]
async fn a_reader_looks_and_a_read_only_server_is_only_read() {
    let channel = idle(&["127.0.0.1:1"]);
    let reader = AdminToken::reader("look", READER).unwrap();
    let admin = orders(&channel).token(token()).token(reader.clone()).serve().await.unwrap();
    assert_eq!(get(STATS).token(READER).of(admin.local_addr()).await.status, 200);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let detail = ask(method, STATS).token(READER).of(admin.local_addr()).await.problem(403);
        assert!(detail.contains("`look`"), "{detail}");
    }
    let admin = orders(&channel).token(token()).read_only(true).serve().await.unwrap();
    assert_eq!(get(STATS).token(OPERATOR).of(admin.local_addr()).await.status, 200);
    let detail = ask("POST", STATS).token(OPERATOR).of(admin.local_addr()).await.problem(403);
    assert!(detail.contains("read-only"), "{detail}");
}

#[tokio::test]
async fn without_a_token_pages_from_elsewhere_get_nothing() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).serve().await.unwrap();
    let addr = admin.local_addr();
    for own in ["localhost".to_owned(), format!("LOCALHOST:{}", addr.port()), "127.0.0.1".into(), "[::1]:80".into()] {
        assert_eq!(get(STATS).header("host", own.clone()).of(addr).await.status, 200, "{own}");
    }
    // A name of somebody else's that leads here.
    for foreign in ["evil.example", "localhost.evil.example", "evil.example:80", "10.0.0.1", "127.0.0.1.evil.example", "a b", "@"] {
        get(STATS).header("host", foreign).of(addr).await.problem(403);
    }
    // A page from elsewhere may look, by which it sees nothing, but not change anything.
    let origin = |origin: &str| ask("POST", STATS).header("origin", origin);
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", ""] {
        origin(foreign).of(addr).await.problem(403);
    }
    origin(&format!("http://{addr}")).of(addr).await.problem(405);
}
