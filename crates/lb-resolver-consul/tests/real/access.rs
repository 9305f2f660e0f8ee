//! Tokens and certificates.

use std::time::Duration;

use lb_core::ResolveErrorKind;
use lb_resolver_consul::ConsulConfig;
use lb_testkit::services::Consul;
use lb_testkit::services::ConsulOptions;
use lb_testkit::services::require;

use crate::support::Watcher;
use crate::support::keys;

/// What it takes to see endpoints.
const READ: &str = r#"service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }"#;

/// A token with these rights: its public and its secret half.
fn token(consul: &Consul, name: &str, rules: &str) -> (String, String) {
    consul.put("/v1/acl/policy", &format!(r#"{{ "Name": "{name}", "Rules": "{rules}" }}"#)).unwrap();
    let token = consul.put("/v1/acl/token", &format!(r#"{{ "Policies": [{{ "Name": "{name}" }}] }}"#)).unwrap();
    let field = |name: &str| token.split(&format!("\"{name}\":\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    (field("AccessorID"), field("SecretID"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_deleted_under_a_waiting_query_and_a_new_one_in_its_file() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start_with(&root, ConsulOptions { acl: true, tls: false }).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let (first, second) = (token(&consul, "first", READ), token(&consul, "second", READ));
    let file = std::env::temp_dir().join(format!("evenkeel-consul-token-{}", std::process::id()));
    std::fs::write(&file, format!("{}\n", first.1)).unwrap();
    let config = ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap().with_token_file(&file);
    let mut watcher = Watcher::with(config.with_wait(Duration::from_secs(2)).unwrap(), "greeter");
    watcher.until_is(&keys([50_001])).await;

    assert_eq!(consul.request("DELETE", &format!("/v1/acl/token/{}", first.0), "").unwrap().0, 200);
    consul.register("greeter", "s2", 50_002).unwrap();
    watcher.until("it is refused", |seen| seen.failed_with("403") && seen.failed_with("ACL not found")).await;
    assert_eq!(watcher.now().error.unwrap().kind(), ResolveErrorKind::Refused);
    assert!(watcher.now().keys().is_superset(&keys([50_001])), "what was known stands");

    std::fs::write(&file, second.1).unwrap();
    watcher.until_is(&keys([50_001, 50_002])).await;
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_for_want_of_a_token_is_a_refusal() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start_with(&root, ConsulOptions { acl: true, tls: false }).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let config = ConsulConfig::new().with_agents([consul.addr().to_string()]).unwrap();
    let mut watcher = Watcher::with(config, "greeter");
    watcher.until("it is refused", |seen| seen.failed_with("the token may not read the service; there is no token")).await;
    assert_eq!(watcher.now().error.unwrap().kind(), ResolveErrorKind::Refused);
    // A right that is given later is noticed.
    consul
        .put(
            "/v1/acl/policy",
            r#"{ "Name": "all", "Rules": "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }" }"#,
        )
        .unwrap();
    consul
        .put(
            "/v1/acl/token/00000000-0000-0000-0000-000000000002",
            r#"{ "AccessorID": "00000000-0000-0000-0000-000000000002", "Policies": [{ "Name": "all" }] }"#,
        )
        .unwrap();
    watcher.until_is(&keys([50_001])).await;
    // Half of the rights shows as little as none.
    let half = token(&consul, "half", r#"service_prefix \"\" { policy = \"read\" }"#).1;
    let mut half = Watcher::with(crate::support::config(&consul).with_token(half).unwrap(), "greeter");
    half.until("it is refused", |seen| seen.failed_with("the token may not read nodes")).await;
    // And whoever may read is told that there is nothing, where there is nothing.
    let mut nobody = Watcher::with(crate::support::config(&consul), "nobody");
    nobody.until("it is not found", |seen| seen.failed_with("service not found")).await;
}

#[cfg(feature = "tls-ring")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_with_its_own_authority_and_our_certificate() {
    let Some(root) = require("consul") else { return };
    let consul = Consul::start_with(&root, ConsulOptions { acl: false, tls: true }).unwrap();
    consul.register("greeter", "s1", 50_001).unwrap();
    let file = |what: &str| std::fs::read(consul.tls_file(what).unwrap()).unwrap();
    let agent = format!("https://{}", consul.https_addr().unwrap());
    let trusting = ConsulConfig::new().with_agents([&agent]).unwrap().with_ca_certificate(file("ca"));
    let known = trusting.clone().with_client_certificate(file("client"), file("client-key"));
    let mut watcher = Watcher::with(known.clone(), "greeter");
    watcher.until_is(&keys([50_001])).await;
    consul.register("greeter", "s2", 50_002).unwrap();
    watcher.until_is(&keys([50_001, 50_002])).await;

    let mut unknown = Watcher::with(trusting, "greeter");
    unknown.until("our certificate is missing", |seen| seen.error.is_some()).await;
    assert!(unknown.now().last.is_none());
    let mut misled = Watcher::with(known.with_tls_server_name("somebody.else"), "greeter");
    misled.until("its name is wrong", |seen| seen.failed_with("TLS")).await;
}
