//! Backends over TLS whose authorities are in files of their own.

use lb_config::Channels;
use serde_json::{Value, json};

use crate::config;
use crate::hooks::{Backend, SECRET};
use crate::layers::tempdir;

/// A configuration in which one hook tells `url`, trusting this file.
fn hook(section: &str, key: &str, url: &str, file: &str) -> Value {
    let mut tree = json!({"endpoints": ["127.0.0.1:1"]});
    tree[section] = match section {
        "webhook" => json!({"url": url, "secrets": [SECRET], "linger": "0s"}),
        "metrics" => json!({"backendUrl": url, "collectionInterval": "1s"}),
        _ => json!({"backendUrl": url, "checkInterval": "20ms"}),
    };
    tree[section][key] = file.into();
    tree
}

const HOOKS: [(&str, &str); 3] = [("webhook", "caFile"), ("metrics", "backendCaFile"), ("circuitBreaker", "backendCaFile")];

#[tokio::test]
async fn every_hook_trusts_the_authorities_of_its_file() {
    for (section, key) in HOOKS {
        let (backend, pem) = Backend::over_tls(json!({})).await;
        let directory = tempdir(&format!("ca-{section}"));
        let file = directory.join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let channels = Channels::build(config(hook(section, key, &backend.url, file.to_str().unwrap()))).unwrap();
        channels.get("default").unwrap().drain("127.0.0.1:1");
        backend.heard(section, |head, _| head.contains("HTTP/1.1")).await;
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_or_holds_none_is_named() {
    let directory = tempdir("no-ca");
    let file = directory.join("ca.pem");
    std::fs::write(&file, "no certificate").unwrap();
    for (section, key) in HOOKS {
        let refused = |file: &str| {
            let tree = hook(section, key, "https://localhost:1/", file);
            Channels::build(config(tree)).expect_err("it is refused").to_string()
        };
        let missing = refused("/nowhere/ca.pem");
        assert!(missing.contains(&format!("{section}.{key}")) && missing.contains("/nowhere/ca.pem"), "{missing}");
        let empty = refused(file.to_str().unwrap());
        assert!(empty.contains("certificate"), "{empty}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}
