//! Policies: seen, changed, and changed by several at once.

use std::time::Duration;

use serde_json::json;

use crate::client::{Ask, ask, get};
use crate::support::{Live, idle, orders};

const ORDERS: &str = "/api/v1/loadbalancer/algorithms/orders";

fn put(algorithm: &str) -> Ask {
    ask("PUT", ORDERS).json(&json!({ "policy": algorithm }))
}

#[tokio::test]
async fn a_service_gets_another_policy() {
    let (live, users) = (Live::start(2).await, idle(&["127.0.0.1:1"]));
    let admin = orders(&live.channel).service("users", &users).serve().await.unwrap();
    let addr = admin.local_addr();
    let all = get("/api/v1/loadbalancer/algorithms").of(addr).await.json();
    assert_eq!(all["services"]["users"]["policy"], users.policy());
    let before = get(ORDERS).of(addr).await;
    assert_eq!(before.json()["policy"], "round_robin");
    assert!(before.json()["policies"].as_array().unwrap().contains(&"least_request".into()));

    let body = json!({ "policy": "least_request", "config": { "choiceCount": 3 } });
    let changed = ask("PUT", ORDERS).json(&body).of(addr).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!((&changed.json()["policy"], &changed.json()["config"]), (&json!("least_request"), &json!({ "choiceCount": 3 })));
    assert_eq!(live.channel.policy(), "least_request");
    let after = get(ORDERS).of(addr).await;
    assert_eq!((after.json(), after.header("etag")), (changed.json(), changed.header("etag")));
    assert_ne!(after.header("etag"), before.header("etag"));
    assert_ne!(users.policy(), "least_request");
}

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let live = Live::start(1).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let before = get(ORDERS).of(addr).await;
    for (body, status) in [
        (r#"{"algorithm":"round_robbin"}"#, 422),
        (r#"{"algorithm":"least_request","config":{"choiceCount":"many"}}"#, 422),
        (r#"{"algorithm":"least_request","config":[]}"#, 422),
        (r#"{"algorithm":"random","more":1}"#, 422),
        (r#"{"algorithm":7}"#, 422),
        ("{}", 422),
        ("[]", 422),
        ("", 400),
        (r#"["random"]"#, 422),
        (r#"{"algorithm":"random""#, 400),
        ("{\"algorithm\":\"random\"}}", 400),
        ("\u{0}", 400),
    ] {
        let detail = ask("PUT", ORDERS).header("content-type", "application/json").body(body).of(addr).await.problem(status);
        assert!(!detail.is_empty(), "{body}");
    }
    let deep = "[".repeat(100_000);
    ask("PUT", ORDERS).header("content-type", "application/json").body(deep).of(addr).await.problem(400);
    for kind in ["text/plain", "application/xml", "application/json2", ""] {
        ask("PUT", ORDERS).header("content-type", kind).body(r#"{"algorithm":"random"}"#).of(addr).await.problem(415);
    }
    ask("PUT", ORDERS).body(r#"{"algorithm":"random"}"#).of(addr).await.problem(415);
    ask("PUT", "/api/v1/loadbalancer/algorithms/users").json(&json!({ "algorithm": "random" })).of(addr).await.problem(404);
    assert_eq!(get(ORDERS).of(addr).await.body, before.body);
    assert_eq!(
        ask("PUT", ORDERS)
            .header("content-type", "application/JSON; charset=utf-8")
            .body(r#"{"algorithm":"random"}"#)
            .of(addr)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn of_several_who_saw_the_same_one_changes_it() {
    let live = Live::start(2).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let addr = admin.local_addr();
    for round in 0..10 {
        let seen = get(ORDERS).of(addr).await.header("etag").unwrap().to_owned();
        let names = if round % 2 == 0 { ["random", "least_request", "pick_first"] } else { ["round_robin", "ring_hash", "maglev"] };
        let racers = names.map(|name| put(name).header("if-match", seen.clone()).of(addr));
        let answers = futures_util::future::join_all(racers).await;
        let won: Vec<_> = names.iter().zip(&answers).filter(|(_, answer)| answer.status < 300).map(|(name, _)| *name).collect();
        let lost: Vec<_> = answers.iter().filter(|answer| answer.status >= 300).collect();
        assert_eq!((won.len(), lost.len()), (1, 2), "{answers:?}");
        for lost in lost {
            lost.problem(412);
            assert!(lost.header("etag").is_some_and(|now| now != seen), "{lost:?}");
        }
        let found = get(ORDERS).of(addr).await.json();
        assert!(found["policy"] == won[0] || found["pending"] == won[0], "{won:?} {found}");
        live.until(|channel| channel.policy() == won[0]).await;
    }
    put("random").header("if-match", "\"never\"").of(addr).await.problem(412);
    assert!(put("random").header("if-match", "*").of(addr).await.status < 300);
}

#[tokio::test]
async fn without_anybody_to_pick_the_new_one_is_pending_or_there() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).serve().await.unwrap();
    let changed = tokio::time::timeout(Duration::from_secs(5), put("least_request").of(admin.local_addr())).await.unwrap();
    let now = changed.json();
    match changed.status {
        200 => assert_eq!((&now["policy"], &now["pending"]), (&json!("least_request"), &json!(null))),
        202 => assert_eq!(now["pending"], "least_request"),
        _ => panic!("{changed:?}"),
    }
}
