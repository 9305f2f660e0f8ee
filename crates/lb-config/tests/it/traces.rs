//! Which calls are traced, by configuration.

use lb_config::{Channels, Config};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::{Value, json};

use crate::{config, problems};

/// A header of a call that is made with this configured, and with these headers of its own.
async fn sent(tracing: Value, headers: &[(&'static str, &'static str)], name: &str) -> Option<String> {
    let server = EchoServer::builder().record_requests().start().await.unwrap();
    let tree = json!({"endpoints": [server.addr().to_string()], "tracing": tracing});
    let channels = Channels::build(config(tree)).unwrap();
    let mut request = tonic::Request::new(EchoRequest::default());
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    EchoClient::new(channels.get("default").unwrap()).unary(request).await.unwrap();
    let head = server.control().last_request().unwrap();
    head.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn unsampled_calls_are_told_of_as_configured() {
    assert_eq!(sent(json!(false), &[], "traceparent").await, None);
    assert_eq!(sent(json!({"ratio": 0}), &[], "traceparent").await, None);
    let told = sent(json!({"ratio": 0, "tellUnsampled": true}), &[], "traceparent").await.unwrap();
    assert!(told.starts_with("00-") && told.ends_with("-02"), "a trace of random id that is not sampled: {told}");
    let binary = json!({"ratio": 0, "tellUnsampled": true, "propagation": "grpcTraceBin"});
    assert!(sent(binary.clone(), &[], "grpc-trace-bin").await.is_some());
    assert_eq!(sent(binary, &[], "traceparent").await, None);
    let off = json!({"ratio": 0, "tellUnsampled": true, "propagation": "off"});
    assert_eq!(sent(off, &[], "traceparent").await, None);
}

#[test]
fn a_ratio_is_a_share_and_can_be_one_services_own() {
    let told = problems(json!({"endpoints": ["127.0.0.1:1"], "tracing": {"ratio": 1.5}})).to_string();
    assert!(told.contains("tracing.ratio") && told.contains("a number from 0 to 1"), "{told}");
    let tree = json!({"services": {"a": {"endpoints": ["127.0.0.1:1"]}, "b": {"endpoints": ["127.0.0.1:1"], "tracing": false}}});
    let sources = Config::sources().defaults(tree).environment([("LB_TRACING_RATIO", "0.01")]);
    let config = sources.load().unwrap();
    let of = |name: &str| config.service(name).unwrap().tracing.as_ref().map(|tracing| tracing.ratio);
    assert_eq!((of("a"), of("b")), (Some(0.01), None));
}
