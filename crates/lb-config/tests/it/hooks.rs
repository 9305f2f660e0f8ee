//! What channels have beside them by configuration: webhooks, a breaker elsewhere, reports, metrics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_config::Channels;
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::layers::tempdir;
use crate::{config, problems};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An HTTP backend that answers everything alike, and remembers what it was sent.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Backend {
    pub(crate) async fn start(answer: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path", listener.local_addr().unwrap());
        let backend = Self { url, heard: Arc::default() };
        let serving = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream, answer.to_string()));
            }
        });
        backend
    }

    /// The same over TLS, with the certificate in PEM.
    pub(crate) async fn over_tls(answer: Value) -> (Self, String) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let (acceptor, listener) =
            (tokio_rustls::TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("https://localhost:{}/path", listener.local_addr().unwrap().port());
        let backend = Self { url, heard: Arc::default() };
        let serving = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not trust this one leaves here.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(serving.clone().serve(stream, answer.to_string()));
            }
        });
        (backend, certified.cert.pem())
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String) {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
                if body.len() >= length {
                    self.heard.lock().unwrap().push((head.to_owned(), body.to_owned()));
                    read.clear();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
            if !stream.read_buf(&mut read).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    /// The first request like this, once it has come.
    pub(crate) async fn heard(&self, what: &str, like: impl Fn(&str, &str) -> bool) -> (String, String) {
        let found = async {
            loop {
                if let Some(found) = self.heard.lock().unwrap().iter().find(|(head, body)| like(head, body)).cloned() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap_or_else(|_| panic!("not told: {what}"))
    }
}

#[tokio::test]
async fn a_webhook_tells_of_every_service_and_follows_the_configuration() {
    let (first, second) = (Backend::start(json!({})).await, Backend::start(json!({})).await);
    let directory = tempdir("webhook");
    let token = directory.join("token");
    std::fs::write(&token, "hook-token").unwrap();
    let tree = |url: &str, services: &[&str]| {
        let services: serde_json::Map<String, Value> =
            services.iter().map(|name| ((*name).to_owned(), json!({"endpoints": ["127.0.0.1:1"]}))).collect();
        config(
            json!({"webhook": {"url": url, "secrets": [SECRET], "tokenFile": token, "kinds": ["drained"], "linger": "0s"}, "services": services}),
        )
    };
    let channels = Channels::build(tree(&first.url, &["orders"])).unwrap();
    channels.get("orders").unwrap().drain("127.0.0.1:1");
    let (head, body) = first.heard("a drain", |_, body| body.contains("drained")).await;
    assert!(head.contains("authorization: Bearer hook-token") && head.contains("webhook-signature: v1,"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["type"], &body["events"][0]["channel"]), (&json!("evenkeel.events"), &json!("orders")));

    channels.apply(tree(&second.url, &["orders", "stock"])).unwrap();
    channels.get("stock").unwrap().drain("127.0.0.1:1");
    second.heard("a drain of a new channel", |_, body| body.contains("\"stock\"")).await;
    channels.get("orders").unwrap().undrain("127.0.0.1:1");
    first.heard("one of the channel from before", |_, body| body.contains("\"drained\":false")).await;
    channels.rebuild("orders").unwrap().drain("127.0.0.1:1");
    second.heard("and once that is built anew", |_, body| body.contains("\"orders\"")).await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_breaker_elsewhere_is_followed() {
    let (one, other) = (EchoServer::start("s0").await.unwrap(), EchoServer::start("s1").await.unwrap());
    let backend = Backend::start(json!({one.addr().to_string(): "open"})).await;
    let tree = json!({
        "endpoints": [one.addr().to_string(), other.addr().to_string()],
        "circuitBreaker": {"backendUrl": backend.url, "checkInterval": "20ms"}
    });
    let channels = Channels::build(config(tree)).unwrap();
    let channel = channels.get("default").unwrap();
    let mut client = EchoClient::new(channel.clone());
    backend.heard("a question", |head, _| head.starts_with("GET ")).await;
    // Once it is known that one is open, nobody goes there: as many in a row as chance would hardly leave out.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let server = client.unary(EchoRequest::default()).await.unwrap().into_inner().server;
        in_a_row = if server == "s1" { in_a_row + 1 } else { 0 };
    }
    backend.heard("how calls ended", |head, body| head.starts_with("POST ") && body.contains("\"succeeded\"")).await;
}

#[tokio::test]
async fn statistics_are_reported_of_the_channels_there_are() {
    let backend = Backend::start(json!({})).await;
    let tree = |services: &[&str]| {
        let services: serde_json::Map<String, Value> =
            services.iter().map(|name| ((*name).to_owned(), json!({"endpoints": ["127.0.0.1:1"]}))).collect();
        config(json!({"metrics": {"backendUrl": backend.url, "collectionInterval": "1s"}, "services": services}))
    };
    let channels = Channels::build(tree(&["orders"])).unwrap();
    let (_, body) = backend.heard("a report", |_, body| body.contains("evenkeel.stats")).await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["channels"][0]["channel"], "orders");
    channels.apply(tree(&["orders", "stock"])).unwrap();
    backend.heard("a report of both", |_, body| body.contains("\"orders\"") && body.contains("\"stock\"")).await;
}

#[tokio::test]
async fn metrics_are_there_when_they_are_enabled_by_whichever_name() {
    let server = EchoServer::start("s0").await.unwrap();
    let tree = json!({"services": {"orders": {"endpoints": [server.addr().to_string()]}}});
    let sources = lb_config::Config::sources().defaults(tree);
    let off = Channels::build(sources.load().unwrap()).unwrap();
    assert!(off.exposition().is_none());
    let on = Channels::build(sources.environment([("LB_METRICS_ENABLED", "true")]).load().unwrap()).unwrap();
    EchoClient::new(on.get("orders").unwrap()).unary(EchoRequest::default()).await.unwrap();
    let text = on.exposition().unwrap().unwrap();
    for series in ["grpc_client_call_duration_seconds_count", "grpc_subchannel_open_connections", "evenkeel_channel_endpoints"] {
        let of_orders =
            |line: &str| line.starts_with(&format!("{series}{{")) && line.contains("grpc_target=\"configured:///orders\"");
        assert!(text.lines().any(of_orders), "{series}: {text}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let told = |webhook: Value| problems(json!({"webhook": webhook, "endpoints": ["127.0.0.1:1"]})).to_string();
    assert!(told(json!({"secrets": [SECRET]})).contains("webhook.url"));
    assert!(told(json!({"url": "http://x"})).contains("webhook.secrets or webhook.secretsFile"));
    let misspelt = told(json!({"url": "http://x", "secrets": [SECRET], "kinds": ["draned"]}));
    assert!(misspelt.contains("did you mean drained?"), "{misspelt}");
    assert!(!misspelt.contains(SECRET));
}

#[tokio::test]
async fn what_cannot_be_started_changes_nothing() {
    let good = config(json!({"endpoints": ["127.0.0.1:1"]}));
    let channels = Channels::build(good.clone()).unwrap();
    let secret =
        json!({"endpoints": ["127.0.0.1:1"], "timeout": "1s", "webhook": {"url": "http://127.0.0.1:1", "secrets": ["short"]}});
    let refused = channels.apply(config(secret)).unwrap_err().to_string();
    assert!(refused.starts_with("webhook: "), "{refused}");
    let file = json!({"endpoints": ["127.0.0.1:1"], "webhook": {"url": "http://127.0.0.1:1", "secretsFile": "/nowhere/secrets"}});
    let refused = channels.apply(config(file)).unwrap_err().to_string();
    assert!(refused.contains("/nowhere/secrets"), "{refused}");
    assert_eq!(channels.config().to_json(), good.to_json());
}
