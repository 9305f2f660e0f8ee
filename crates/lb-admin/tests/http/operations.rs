//! Health, sessions, explaining, resetting, and the program's configuration.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_admin::{ConfigRefusal, ConfigSource};
use lb_core::sessions::SessionLimits;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::SessionConfig;
use serde_json::{Value, json};

use crate::client::{ask, get};
use crate::support::{Live, idle, orders};

const API: &str = "/api/v1/loadbalancer";

#[tokio::test]
async fn health_says_how_well_and_why() {
    let (mut live, users) = (Live::start(2).await, idle(&["127.0.0.1:1"]));
    let admin = orders(&live.channel).serve().await.unwrap();
    let health = async || get(format!("{API}/health")).of(admin.local_addr()).await.json();
    let well = health().await;
    assert_eq!((&well["status"], &well["services"]["orders"]["takingCalls"]), (&json!("healthy"), &json!(2)));
    admin.services().add("users", &users);
    assert_eq!(health().await["status"], "idle");
    live.servers[0].kill().await;
    live.until(|channel| channel.stats().totals.taking_calls == 1).await;
    let less = health().await;
    assert_eq!(
        (&less["status"], &less["services"]["orders"]["reasons"][0]),
        (&json!("degraded"), &json!("1 of 2 endpoints take calls"))
    );
    live.servers[1].kill().await;
    live.until(|channel| channel.stats().totals.taking_calls == 0 && channel.state() != lb_core::ConnectivityState::Ready).await;
    live.until(|channel| channel.state() == lb_core::ConnectivityState::TransientFailure).await;
    assert_eq!(health().await["services"]["orders"]["status"], "unhealthy");
}

#[tokio::test]
async fn sessions_are_listed_and_forgotten() {
    let limits = SessionLimits::try_new(Duration::from_secs(60), None, 100).unwrap();
    let live = Live::with(2, |builder| builder.sessions(SessionConfig::table(limits))).await;
    let other = idle(&["127.0.0.1:1"]);
    let admin = orders(&live.channel).service("users", &other).serve().await.unwrap();
    let addr = admin.local_addr();
    let store = live.channel.sessions().unwrap();
    let names = ["a/b", "c d", "..", "e?f", "plain"];
    names.iter().for_each(|name| drop(store.place(name, "x:1")));

    let all = get(format!("{API}/sessions")).of(addr).await.json();
    let of_orders = &all["services"]["orders"];
    assert_eq!((of_orders["count"].as_u64(), &of_orders["byEndpoint"]), (Some(5), &json!({ "x:1": 5 })));
    assert!(all["services"].get("users").is_none(), "it keeps none");
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = get(format!("{API}/sessions?service=orders&limit=2{cursor}")).of(addr).await.json();
        let page = &page["services"]["orders"];
        seen += page["sessions"].as_array().unwrap().len();
        let Some(next) = page["next"].as_u64() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 5);
    for wrong in ["?limit=0", "?limit=1001", "?limit=x", "?cursor=1", "?service=orders&cursor=-1", "?more=1"] {
        get(format!("{API}/sessions{wrong}")).of(addr).await.problem(400);
    }
    get(format!("{API}/sessions?service=nobody")).of(addr).await.problem(404);
    assert_eq!(get(format!("{API}/sessions?service=orders&cursor=18446744073709551615")).of(addr).await.status, 200);

    for name in &names[..4] {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("{API}/sessions/{encoded}");
        assert_eq!(ask("DELETE", &path).of(addr).await.json(), json!({ "cleared": 1 }), "{name}");
        ask("DELETE", &path).of(addr).await.problem(404);
    }
    assert_eq!(store.len(), 1);
    assert_eq!(ask("DELETE", format!("{API}/sessions?service=users")).of(addr).await.json(), json!({ "cleared": 0 }));
    assert_eq!(ask("DELETE", format!("{API}/sessions")).of(addr).await.json(), json!({ "cleared": 1 }));
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_pick_is_explained_as_the_channel_would() {
    let live = Live::start(2).await;
    let reader = lb_admin::AdminToken::reader("look", crate::support::READER).unwrap();
    let admin = orders(&live.channel).token(reader).read_only(true).serve().await.unwrap();
    let explain =
        |body: Value| ask("POST", format!("{API}/explain/orders")).token(crate::support::READER).json(&body).of(admin.local_addr());
    let any = explain(json!({})).await.json();
    assert_eq!((&any["policy"], any["endpoints"].as_array().map(Vec::len)), (&json!("round_robin"), Some(2)));
    let (first, second) = (live.servers[0].addr().to_string(), live.servers[1].addr().to_string());
    let avoiding = explain(json!({ "exclude": [first] })).await.json();
    assert_eq!(avoiding["best"], second);
    assert!(!avoiding["endpoints"][0]["excluded"].is_null() && avoiding["endpoints"][1]["excluded"].is_null(), "{avoiding}");
    assert_eq!(explain(json!({ "require": ["gpu"] })).await.json()["best"], json!(null));
    for wrong in [
        json!({ "policy": "nope" }),
        json!({ "loadThreshold": 7 }),
        json!({ "require": "gpu" }),
        json!([]),
        json!({ "pin": "" }),
        json!({ "exlude": [] }),
    ] {
        explain(wrong).await.problem(422);
    }
    // Nothing was called for it.
    assert_eq!(live.channel.stats().totals.in_flight + live.channel.stats().totals.cancelled, 0);
}

#[tokio::test]
async fn reset_takes_back_what_was_done_by_hand() {
    let live = Live::start(3).await;
    let keys: Vec<_> = live.servers.iter().map(|server| server.endpoint().key().clone()).collect();
    live.channel.drain(keys[0].clone());
    live.channel.disable(keys[1].clone());
    live.channel.degrade(keys[2].clone(), 0.5);
    live.until(|channel| channel.stats().totals.taking_calls == 1 && channel.endpoints()[2].share < 1.0).await;
    let admin = orders(&live.channel).serve().await.unwrap();
    let reset = |query: &str| ask("POST", format!("/api/v1/admin/loadbalancer/reset{query}")).of(admin.local_addr());
    reset("?service=users").await.problem(404);
    reset("?all=1").await.problem(400);
    assert_eq!(reset("").await.json(), json!({ "reset": ["orders"] }));
    live.until(|channel| channel.stats().totals.taking_calls == 3 && channel.endpoints().iter().all(|now| now.share >= 1.0)).await;
}

#[tokio::test]
async fn debug_has_everything_and_no_secret() {
    let live = Live::start(1).await;
    let mut client = EchoClient::new(live.channel.clone());
    client.unary(EchoRequest::default()).await.unwrap();
    let token = lb_admin::AdminToken::operator("ops", crate::support::OPERATOR).unwrap();
    let admin = orders(&live.channel).token(token).serve().await.unwrap();
    get("/metrics").token("not-the-secret-at-all").of(admin.local_addr()).await.problem(401);
    let debug = get("/api/v1/admin/loadbalancer/debug").token(crate::support::OPERATOR).of(admin.local_addr()).await;
    let data = debug.json();
    assert_eq!((&data["tokens"], &data["refusedTokens"]), (&json!(["ops"]), &json!(1)));
    assert_eq!(data["services"]["orders"]["stats"]["totals"]["succeeded"], 1);
    assert!(!debug.body.contains(crate::support::OPERATOR));
}

/// A configuration of one number, from 0 to 9, where 7 cannot be now.
#[derive(Debug, Default)]
pub(crate) struct Number(Mutex<u64>);

impl ConfigSource for Number {
    fn get(&self) -> Value {
        json!({ "number": *self.0.lock().unwrap() })
    }

    fn put(&self, config: &Value) -> Result<Value, ConfigRefusal> {
        let number = config["number"].as_u64().filter(|number| *number < 10);
        let number = number.ok_or_else(|| ConfigRefusal::Wrong(vec!["number is wrong, allowed is 0 to 9".into()]))?;
        if number == 7 {
            return Err(ConfigRefusal::Impossible("7 is taken".into()));
        }
        let before = std::mem::replace(&mut *self.0.lock().unwrap(), number);
        // Long enough for others to come in between, if they could.
        std::thread::sleep(Duration::from_millis(20));
        Ok(json!([{ "key": "number", "from": before, "to": number }]))
    }

    fn reload(&self) -> Result<Value, ConfigRefusal> {
        self.put(&json!({ "number": 3 }))
    }

    fn explain(&self) -> Option<Value> {
        Some(json!({ "rows": [{ "path": "number", "value": self.get()["number"].to_string(), "source": "test", "over": [] }] }))
    }
}

#[tokio::test]
async fn the_configuration_is_changed_whole_and_by_one_at_a_time() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).config(Arc::new(Number::default())).serve().await.unwrap();
    let addr = admin.local_addr();
    let path = format!("{API}/config");
    let put = |number: Value| ask("PUT", &path).json(&json!({ "number": number }));
    let seen = get(&path).of(addr).await;
    assert_eq!(seen.json(), json!({ "number": 0 }));
    let tag = seen.header("etag").unwrap().to_owned();
    assert!(put(json!(10)).of(addr).await.problem(422).contains("0 to 9"));
    assert_eq!(put(json!(7)).of(addr).await.problem(409), "7 is taken");
    assert_eq!(get(&path).of(addr).await.header("etag"), Some(&*tag), "nothing has changed");

    let racers = (1..7).map(|number| put(json!(number)).header("if-match", tag.clone()).of(addr));
    let answers = futures_util::future::join_all(racers).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    answers.iter().filter(|answer| answer.status != 200).for_each(|lost| drop(lost.problem(412)));
    let now = get(&path).of(addr).await;
    assert_eq!((&won[0].json()["config"], won[0].header("etag")), (&now.json(), now.header("etag")));

    let reloaded = ask("POST", "/api/v1/admin/loadbalancer/reload").of(addr).await;
    assert_eq!((reloaded.status, &reloaded.json()["changes"][0]["to"]), (200, &json!(3)));
    assert_eq!(get(&path).of(addr).await.json(), json!({ "number": 3 }));
}

#[tokio::test]
async fn without_a_configuration_there_is_none() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).serve().await.unwrap();
    get(format!("{API}/config")).of(admin.local_addr()).await.problem(404);
    ask("PUT", format!("{API}/config")).json(&json!({})).of(admin.local_addr()).await.problem(404);
    ask("POST", "/api/v1/admin/loadbalancer/reload").of(admin.local_addr()).await.problem(404);
}
