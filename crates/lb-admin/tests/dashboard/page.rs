//! The page's files, as a browser gets them.

use lb_admin::{Admin, AdminToken};

use crate::client::{ask, get};
use crate::support::{OPERATOR, idle, orders};

#[tokio::test]
async fn the_page_is_open_to_all_and_bound_to_its_own_server() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).token(AdminToken::operator("o", OPERATOR).unwrap()).serve().await.unwrap();
    for (path, kind) in [("/", "text/html"), ("/assets/app.js", "text/javascript"), ("/assets/style.css", "text/css")] {
        let answer = get(path).of(admin.local_addr()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for path in ["/assets", "/assets/", "/assets/nothing.js", "/assets/..%2f..%2fCargo.toml", "/index.html"] {
        get(path).of(admin.local_addr()).await.problem(401);
        get(path).token(OPERATOR).of(admin.local_addr()).await.problem(404);
    }
    ask("POST", "/").token(OPERATOR).of(admin.local_addr()).await.problem(405);
}

#[tokio::test]
async fn without_a_token_a_foreign_name_gets_no_page() {
    let admin = Admin::builder().serve().await.unwrap();
    get("/").header("host", "evil.example").of(admin.local_addr()).await.problem(403);
    assert_eq!(get("/").of(admin.local_addr()).await.status, 200);
}
