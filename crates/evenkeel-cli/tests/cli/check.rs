//! Checking endpoints that are well, not well, not there and silent.

use std::process::Stdio;

use lb_testkit::EchoServer;
use lb_testkit::HangingPort;
use lb_testkit::ReservedPort;
use lb_testkit::ServingStatus;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::IsCa;
use rcgen::KeyPair;
use tonic::transport::Identity;
use tonic::transport::ServerTlsConfig;

use crate::support::Running;
use crate::support::Scratch;
use crate::support::code;
use crate::support::evenkeel;
use crate::support::run;

/// The text with what differs from run to run made equal: addresses by these names, times by `T`.
fn steady(text: &str, names: &[(String, &str)]) -> String {
    let text = names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lines = lines.map(|mut words| {
        if let Some(at) = words.iter().position(|word| *word == "ms") {
            words[at - 1] = "T";
        }
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn all_good_is_code_0() {
    let (one, two) = (EchoServer::start("one").await.unwrap(), EchoServer::start("two").await.unwrap());
    let ended = run(&["check", &format!("static:///{};id=first,{}", one.addr(), two.addr())]).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let names = [(one.addr().to_string(), "ONE"), (two.addr().to_string(), "TWO")];
    assert_eq!(
        steady(&ended.out, &names),
        "ENDPOINT RESULT TIME ID\nONE SERVING T ms first\nTWO SERVING T ms\nall 2 endpoints are good"
    );
    assert_eq!((one.calls(), two.calls()), (0, 0), "no calls");
}

#[tokio::test]
async fn each_kind_of_failure_has_its_reason_and_is_code_1() {
    let (well, sick) = (EchoServer::start("well").await.unwrap(), EchoServer::start("sick").await.unwrap());
    sick.health().set("orders", ServingStatus::NotServing);
    well.health().set("orders", ServingStatus::Serving);
    let (closed, hanging) = (ReservedPort::new().unwrap(), HangingPort::new().unwrap());
    let names = [
        (well.addr().to_string(), "WELL"),
        (sick.addr().to_string(), "SICK"),
        (closed.addr().to_string(), "CLOSED"),
        (hanging.addr().to_string(), "HANGING"),
    ];
    let target = format!("static:///{},{},{},{}", names[0].0, names[1].0, names[2].0, names[3].0);
    let ended = run(&["check", &target, "--health", "orders", "--timeout", "2s"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""));
    let out = steady(&ended.out, &names);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 9, "{out}");
    assert_eq!(
        (lines[1], lines[2], lines[4], lines[6]),
        ("WELL SERVING T ms", "SICK FAILED T ms", "CLOSED FAILED T ms", "HANGING FAILED T ms")
    );
    assert!(lines[3].contains("NOT_SERVING"), "{out}");
    assert!(lines[5].contains("refused"), "{out}");
    assert!(lines[7].contains("time") || lines[7].contains("within"), "{out}");
    assert_eq!(lines[8], "3 of 4 endpoints failed");
    let ended = run(&["check", &format!("ipv4:{}", names[1].0), "--no-health"]).await;
    assert_eq!(ended.code, Some(0), "connected is enough");
    assert!(ended.out.contains("CONNECTED"), "{}", ended.out);
}

#[tokio::test]
async fn json_has_a_line_per_endpoint() {
    let (server, closed) = (EchoServer::start("one").await.unwrap(), ReservedPort::new().unwrap());
    let target = format!("static:///{},{};weight=3", server.addr(), closed.addr());
    let ended = run(&["check", &target, "--json"]).await;
    assert_eq!(ended.code, Some(1));
    let objects: Vec<serde_json::Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [good, bad] = &objects[..] else { panic!("{}", ended.out) };
    assert_eq!(
        (&good["key"], &good["good"], &good["error"]),
        (&server.addr().to_string().into(), &true.into(), &serde_json::Value::Null)
    );
    assert!(good["milliseconds"].as_f64().unwrap() > 0.0);
    assert_eq!((&bad["good"], &bad["attributes"]["weight"]), (&false.into(), &3.into()));
    assert!(bad["error"].as_str().unwrap().contains("refused"));
}

#[tokio::test]
async fn no_endpoints_is_code_1_and_no_answer_code_2() {
    let scratch = Scratch::new();
    let ended = run(&["check", &format!("file:{}", scratch.write("none.json", "[]"))]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), "the target resolved to no endpoints\n"));
    let ended = run(&["check", &format!("file:{}", scratch.write("bad.json", "{"))]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""));
    assert!(ended.err.contains("bad.json"), "{}", ended.err);
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn a_name_is_looked_up() {
    let server = EchoServer::start("one").await.unwrap();
    let ended = run(&["check", &format!("localhost:{}", server.addr().port()), "--timeout", "20s"]).await;
    // There may be an address of IPv6 beside it, at which nobody listens; both are one endpoint or two, as the system has it.
    assert!(
        ended.out.contains(&format!("127.0.0.1:{}", server.addr().port())) && ended.out.contains("SERVING"),
        "{}{}",
        ended.out,
        ended.err
    );
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_is_verified_with_the_given_authority_and_name() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["orders.test".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate.pem(), key.serialize_pem()));
    let server = EchoServer::builder().tls(tls).unwrap().start().await.unwrap();
    let (scratch, target) = (Scratch::new(), server.target());
    let ca = scratch.write("ca.pem", &authority.pem());
    let good = run(&["check", &target, "--ca", &ca, "--server-name", "orders.test"]).await;
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    let other = run(&["check", &target, "--ca", &ca, "--server-name", "other.test"]).await;
    assert_eq!(other.code, Some(1), "{}", other.out);
    assert!(other.out.contains("certificate"), "{}", other.out);
    let missing = run(&["check", &target, "--ca", "/nowhere/ca.pem"]).await;
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("/nowhere/ca.pem"), "{}", missing.err);
}

#[tokio::test]
async fn an_interrupt_ends_a_check() {
    let hanging = HangingPort::new().unwrap();
    let running = Running::start(&["check", &format!("ipv4:{}", hanging.addr()), "--timeout", "10m"]);
    // A signal that comes before the command listens for it ends the command as any other: 130 needs it to be under way.
    running.listens_for_interrupts().await;
    running.signal("INT");
    assert_eq!(running.code().await, Some(130));
}

#[tokio::test]
async fn nobody_reading_changes_no_code() {
    let server = EchoServer::start("one").await.unwrap();
    let mut child = evenkeel(&["check", &server.target()]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(code(&mut child).await, Some(0));
}
