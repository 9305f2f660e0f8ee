//! Channels that follow their configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lb_config::{Channels, Config, ConfigureError, Reload, Sources, Watching};
use lb_core::LbEvent;
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::{Events, LbChannel};
use serde_json::{Value, json};

use crate::config;
use crate::layers::tempdir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Who answers so many calls.
async fn answered(channel: &LbChannel, calls: usize) -> BTreeSet<String> {
    let mut client = EchoClient::new(channel.clone());
    let mut servers = BTreeSet::new();
    for _ in 0..calls {
        servers.insert(client.unary(EchoRequest::default()).await.expect("it is served").into_inner().server);
    }
    servers
}

async fn next(watching: &mut Watching) -> Reload {
    tokio::time::timeout(PATIENCE, watching.next()).await.expect("it is told in time").expect("the watch goes on")
}

/// The next event that is about settings.
async fn settings_event(events: &mut Events) -> LbEvent {
    let found = async {
        loop {
            let event = events.next().await.expect("the channel lives");
            if matches!(event, LbEvent::SettingsChanged { .. } | LbEvent::SettingsRefused(_)) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it is told in time")
}

fn addresses(servers: &[&EchoServer]) -> Value {
    servers.iter().map(|server| Value::from(server.addr().to_string())).collect()
}

#[tokio::test]
async fn endpoints_policies_and_limits_change_under_a_running_channel() {
    let (a, b) = (EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap());
    let first =
        config(json!({"endpoints": addresses(&[&a]), "maxRequests": 100, "rateLimits": {"channel": {"perSecond": 100_000}}}));
    let channels = Channels::build(first.clone()).unwrap();
    let channel = channels.get("default").unwrap();
    assert_eq!(answered(&channel, 5).await, BTreeSet::from(["a".to_owned()]));

    let mut events = channel.subscribe();
    let second =
        first.with("test", &json!({"endpoints": addresses(&[&b]), "policy": "random", "maxRequests": 0, "timeout": "9s"})).unwrap();
    let diff = channels.apply(second.clone()).unwrap();
    assert_eq!(diff.live().map(|changed| changed.key).collect::<Vec<_>>(), ["endpoints", "maxRequests", "policy"]);
    assert_eq!(diff.waiting().map(|changed| changed.key).collect::<Vec<_>>(), ["timeout"]);
    let LbEvent::SettingsChanged { changes, waiting } = settings_event(&mut events).await else { panic!("it was taken") };
    assert_eq!(waiting, 1);
    assert!(changes.contains("services.default.policy round_robin -> random"), "{changes}");
    let shed = EchoClient::new(channel.clone()).unary(EchoRequest::default()).await.unwrap_err();
    assert_eq!(shed.code(), tonic::Code::Unavailable, "no request is allowed at all: {shed}");

    channels.apply(second.with("test", &json!({"maxRequests": null})).unwrap()).unwrap();
    let moved = async { while answered(&channel, 1).await.contains("a") {} };
    tokio::time::timeout(PATIENCE, moved).await.unwrap();
    assert_eq!((answered(&channel, 5).await, channel.policy()), (BTreeSet::from(["b".to_owned()]), "random".to_owned()));
    assert_eq!(channels.waiting().changed.iter().map(|changed| changed.key).collect::<Vec<_>>(), ["timeout"]);
    let anew = channels.rebuild("default").unwrap();
    assert!(channels.waiting().is_empty());
    assert_eq!(answered(&anew, 2).await, BTreeSet::from(["b".to_owned()]));
}

#[tokio::test]
async fn services_come_and_go_and_what_cannot_be_built_changes_nothing() {
    let server = EchoServer::start("a").await.unwrap();
    let first = config(json!({"services": {"a": {"endpoints": addresses(&[&server])}, "b": {"endpoints": addresses(&[&server])}}}));
    let channels = Channels::build(first.clone()).unwrap();
    let kept = channels.get("b").unwrap();
    let second = first.with("test", &json!({"services": {"c": {"endpoints": addresses(&[&server])}}})).unwrap();
    channels.apply(second.clone()).unwrap();
    let third = config(json!({"services": {"a": {"endpoints": addresses(&[&server])}, "c": {"endpoints": addresses(&[&server])}}}));
    let diff = channels.apply(third.clone()).unwrap();
    assert_eq!((&*diff.removed, diff.added.len()), (&["b".into()][..], 0));
    assert!(channels.get("b").is_none() && channels.get("c").is_some());
    assert_eq!(answered(&kept, 1).await.len(), 1, "it lives on where somebody has it");

    let mut events = channels.get("a").unwrap().subscribe();
    let broken = third
        .with("test", &json!({"services": {"a": {"policy": "random"}, "d": {"target": "nowhere:x"}, "e": {"target": "static:///not a host"}}}))
        .unwrap();
    let error = channels.apply(broken).unwrap_err();
    assert!(matches!(&error, ConfigureError::Build { service, .. } if service == "d" || service == "e"), "{error}");
    assert!(matches!(settings_event(&mut events).await, LbEvent::SettingsRefused(_)));
    assert!(channels.config() == third && channels.get("d").is_none());
    assert_eq!(channels.get("a").unwrap().policy(), "round_robin");
    let error = channels.rebuild("z").unwrap_err().to_string();
    assert!(error.contains("no service \"z\" is configured; there are a, c"), "{error}");
}

#[tokio::test]
async fn a_change_that_one_channel_refuses_is_taken_back_from_the_others() {
    #[derive(Debug)]
    struct Mine;
    impl lb_core::PolicyBuilder for Mine {
        fn name(&self) -> &str {
            "mine"
        }
        fn build(&self, _: &Value, _: &lb_core::PolicyRegistry) -> Result<Box<dyn lb_core::Policy>, lb_core::ConfigError> {
            Ok(Box::new(lb_core::policies::Random::default()))
        }
    }
    // The configuration knows the policy, and of the channels only the first does.
    let registry = lb_core::PolicyRegistry::default().with(std::sync::Arc::new(Mine));
    let tree = json!({"services": {"a": {"endpoints": ["127.0.0.1:1"]}, "b": {"endpoints": ["127.0.0.1:1"]}}});
    let sources = Config::sources().policies(registry).defaults(tree);
    let channels = Channels::build_with(sources.load().unwrap(), |settings, builder| match &*settings.name {
        "a" => builder.register_policy(Mine),
        _ => builder,
    })
    .unwrap();
    channels.all().iter().for_each(|(_, channel)| channel.exit_idle());
    let error = channels.apply(sources.set("policy", "mine").load().unwrap()).unwrap_err();
    assert!(matches!(&error, ConfigureError::Setting { service, .. } if service == "b"), "{error}");
    let policies = || channels.all().iter().map(|(_, channel)| channel.policy()).collect::<Vec<_>>();
    let settled = async {
        while policies() != ["round_robin", "round_robin"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
}

/// A file in a directory as Kubernetes mounts a ConfigMap: a link to a link to a directory that is swapped.
struct ConfigMap(std::path::PathBuf, u32);

impl ConfigMap {
    fn new(directory: &Path, content: &Value) -> Self {
        let mut map = Self(directory.to_owned(), 0);
        map.swap(content.to_string());
        std::os::unix::fs::symlink("..data/lb.json", directory.join("lb.json")).expect("links can be made");
        map
    }

    fn swap(&mut self, content: String) {
        self.1 += 1;
        let version = format!("..version-{}", self.1);
        std::fs::create_dir(self.0.join(&version)).expect("a directory of ours");
        std::fs::write(self.0.join(&version).join("lb.json"), content).expect("a directory of ours");
        std::os::unix::fs::symlink(&version, self.0.join("..data_tmp")).expect("links can be made");
        std::fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).expect("it is replaced at once");
    }
}

#[tokio::test]
async fn a_config_map_is_followed_and_a_broken_one_changes_nothing() {
    let directory = tempdir("configmap");
    let server = EchoServer::start("a").await.unwrap();
    let tree = |policy: &str| json!({"endpoints": addresses(&[&server]), "policy": policy});
    let mut map = ConfigMap::new(&directory, &tree("round_robin"));
    let sources: Sources = Config::sources().file(directory.join("lb.json"));
    let channels = Channels::build(sources.load().unwrap()).unwrap();
    let channel = channels.get("default").unwrap();
    let mut events = channel.subscribe();
    let mut watching = channels.watch(sources);

    map.swap(tree("random").to_string());
    let Reload::Changed(diff) = next(&mut watching).await else { panic!("it is right") };
    assert_eq!(diff.to_string(), "services.default.policy round_robin -> random");
    assert!(matches!(settings_event(&mut events).await, LbEvent::SettingsChanged { waiting: 0, .. }));

    map.swap(r#"{"polcy": "pick_first"}"#.to_owned());
    let Reload::Refused(why) = next(&mut watching).await else { panic!("it is wrong") };
    assert!(why.contains("did you mean policy?"), "{why}");
    assert!(matches!(settings_event(&mut events).await, LbEvent::SettingsRefused(_)));
    assert_eq!((channel.policy(), answered(&channel, 2).await.len()), ("random".to_owned(), 1), "all is as it was");

    map.swap(tree("pick_first").to_string());
    assert!(matches!(next(&mut watching).await, Reload::Changed(_)));
    std::fs::remove_file(directory.join("..data")).unwrap();
    let Reload::Refused(why) = next(&mut watching).await else { panic!("it is gone") };
    assert!(why.contains("cannot be read") && channel.policy() == "pick_first", "{why}");
    drop(watching);
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_file_renamed_over_it_counts_and_the_environment_still_does() {
    let directory = tempdir("rename");
    let file = directory.join("lb.json");
    let write = |content: Value| {
        std::fs::write(directory.join("new"), content.to_string()).unwrap();
        std::fs::rename(directory.join("new"), &file).unwrap();
    };
    write(json!({"endpoints": ["127.0.0.1:1"], "policy": "round_robin", "services": {"b": {"target": "static:///127.0.0.1:1"}}}));
    let sources = Config::sources().file(&file).environment([("LB_POLICY", "least_request")]);
    let channels = Channels::build(sources.load().unwrap()).unwrap();
    let mut watching = channels.watch(sources);
    write(
        json!({"endpoints": ["127.0.0.1:1"], "policy": "random", "maxAttempts": 3, "services": {"b": {"target": "static:///127.0.0.1:1"}}}),
    );
    let Reload::Changed(diff) = next(&mut watching).await else { panic!("it is right") };
    let changed: Vec<String> = diff.changed.iter().map(ToString::to_string).collect();
    let expected =
        ["services.b.maxAttempts 5 -> 3 (needs a new channel)", "services.default.maxAttempts 5 -> 3 (needs a new channel)"];
    assert_eq!(changed, expected, "the policy is the environment's");
    drop(watching);
    std::fs::remove_dir_all(directory).unwrap();
}
