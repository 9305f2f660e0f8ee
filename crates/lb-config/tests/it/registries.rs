//! How registries are asked, by configuration.

use lb_config::{Channels, Config};
use lb_testkit::EchoServer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::layers::tempdir;
use crate::{config, problems};

/// Answers one request with a service of one endpoint, and says what was asked.
async fn agent(listener: TcpListener, endpoint: std::net::SocketAddr) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut asked).await.unwrap() > 0, "a whole head");
    }
    let service = json!({"ID": "o-1", "Service": "orders", "Address": endpoint.ip().to_string(), "Port": endpoint.port(), "Meta": {}, "Tags": [],
        "Weights": {"Passing": 1, "Warning": 1}});
    let body = json!([{"Node": {"Node": "n", "Address": "127.0.0.1", "Datacenter": "east"}, "Service": service, "Checks": []}])
        .to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-consul-index: 7\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    // The next query waits for a change as long as the test does.
    tokio::spawn(async move { while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {} });
    String::from_utf8(asked).unwrap()
}

#[tokio::test]
async fn consul_is_asked_as_configured_with_the_token_of_the_file() {
    let server = EchoServer::start("s0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempdir("consul");
    let token = directory.join("token");
    std::fs::write(&token, "a-secret-token\n").unwrap();
    let consul =
        json!({"agents": [listener.local_addr().unwrap().to_string()], "tokenFile": token, "datacenter": "east", "wait": "20s"});
    let configured = config(json!({"target": "consul:///orders", "consul": consul}));
    let channels = Channels::build(configured).unwrap();
    let channel = channels.get("default").unwrap();
    channel.exit_idle();
    let asked = agent(listener, server.addr()).await.to_lowercase();
    assert!(asked.starts_with("get /v1/health/service/orders?") && asked.contains("dc=east"), "{asked}");
    assert!(asked.contains("a-secret-token"), "{asked}");
    let mut events = channel.subscribe();
    while channel.endpoints().is_empty() {
        events.next().await.unwrap();
    }
    assert_eq!(channel.endpoints()[0].key.as_str(), server.addr().to_string());
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn files_are_read_when_a_channel_is_built_and_what_is_wrong_is_named() {
    let missing = |section: &str, more: Value| {
        let mut of_section = json!({"caFile": "/nowhere/ca.pem"});
        of_section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let target = format!("{section}:///orders");
        Channels::build(config(json!({"target": target, section: of_section}))).unwrap_err().to_string()
    };
    assert!(missing("consul", json!({})).contains("consul.caFile /nowhere/ca.pem"), "it names key and file");
    assert!(missing("etcd", json!({})).contains("etcd.caFile /nowhere/ca.pem"));
    let password = config(json!({"target": "etcd:///o", "etcd": {"user": "me", "passwordFile": "/nowhere/password"}}));
    assert!(Channels::build(password).unwrap_err().to_string().contains("etcd.passwordFile"));
    let place = config(json!({"target": "kubernetes:///o.shop:grpc", "kubernetes": {"serviceConfigMap": "a/b/c/d"}}));
    let refused = Channels::build(place).unwrap_err().to_string();
    assert!(refused.contains("a/b/c/d"), "{refused}");
    let agents = config(json!({"target": "consul:///o", "consul": {"agents": ["http://u:p@x"]}}));
    assert!(Channels::build(agents).is_err());
}

#[test]
fn what_contradicts_itself_is_told_before_anything_is_built() {
    let told = |tree: Value| problems(tree).to_string();
    let alone = told(json!({"target": "consul:///o", "consul": {"certificateFile": "c"}}));
    assert!(alone.contains("both certificateFile and keyFile"), "{alone}");
    let alone = told(json!({"target": "etcd:///o", "etcd": {"keyFile": "k"}}));
    assert!(alone.contains("both certificateFile and keyFile"), "{alone}");
    let both = told(json!({"target": "kubernetes:///o", "kubernetes": {"inCluster": true, "context": "c"}}));
    assert!(both.contains("kubernetes.inCluster"), "{both}");
    let misspelt = told(json!({"target": "consul:///o", "consul": {"datacentre": "east"}}));
    assert!(misspelt.contains("did you mean consul.datacenter?") || misspelt.contains("did you mean datacenter?"), "{misspelt}");
}

#[test]
fn one_service_may_have_another_registry_than_all() {
    let all = Config::sources().environment([("LB_CONSUL_DATACENTER", "east"), ("LB_SERVICES_ORDERS_CONSUL_DATACENTER", "west")]);
    let all = all
        .defaults(json!({"services": {"orders": {"target": "consul:///o"}, "stock": {"target": "consul:///s"}}}))
        .load()
        .unwrap();
    let of = |name: &str| all.service(name).unwrap().consul.datacenter.clone();
    assert_eq!((of("orders").as_deref(), of("stock").as_deref()), (Some("west"), Some("east")));
}
