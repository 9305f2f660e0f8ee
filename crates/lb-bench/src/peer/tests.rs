//! Peers that behave, and peers that do not: all of them shell scripts.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{CallKind, LineError, Load, Measured, MissingPeer, Peer, PeerError, PeerKind, ReplyError};

const REPLY: &str = r#"{"calls":2000,"failed":1,"seconds":0.5,"cpu_seconds":0.1,"p50_us":90,"p90_us":95.5,"p99_us":120,"p999_us":200,"max_us":900,"more":"?"}"#;

/// Long enough for a shell to start on a machine that builds; short enough to wait for where nothing comes.
const PATIENT: Duration = Duration::from_secs(20);
const HASTY: Duration = Duration::from_millis(50);

fn load() -> Load {
    Load { kind: CallKind::Stream, concurrency: 16, time: Duration::from_millis(200), payload: 100 }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn peer(script: &str) -> Peer {
    Peer::start(shell(script), PATIENT).expect("a peer that says it is ready")
}

fn refused(script: &str, within: Duration) -> PeerError {
    Peer::start(shell(script), within).expect_err("a peer that is not ready")
}

#[test]
fn a_load_is_one_line_and_a_reply_is_read() {
    assert_eq!(load().line().to_string(), r#"{"concurrency":16,"kind":"stream","millis":200,"payload":100}"#);
    let reply = Measured::parse(REPLY).unwrap();
    assert_eq!((reply.calls, reply.failed, reply.p90_us, reply.max_us), (2000, 1, 95.5, 900.0));
    assert_eq!((reply.rate(), reply.cpu_us()), (4000.0, 50.0));
}

#[test]
fn a_reply_that_cannot_be_is_refused_with_its_field_and_value() {
    let refused = |from: &str, to: &str| Measured::parse(&REPLY.replace(from, to)).expect_err("no such reply");
    for (from, to, field, value) in [
        (r#""calls":2000"#, r#""calls":0"#, "calls", "0"),
        (r#""calls":2000"#, r#""calls":-1"#, "calls", "-1"),
        (r#""failed":1"#, r#""failed":"no""#, "failed", "\"no\""),
        (r#""seconds":0.5"#, r#""seconds":0"#, "seconds", "0"),
        (r#""cpu_seconds":0.1"#, r#""cpu_seconds":-0.1"#, "cpu_seconds", "-0.1"),
        (r#""p99_us":120"#, r#""p98_us":120"#, "p99_us", "null"),
        (r#""max_us":900"#, r#""max_us":[1,2]"#, "max_us", "[1,2]"),
    ] {
        match refused(from, to) {
            ReplyError::Field { field: found, value: said, .. } => assert_eq!((found, said.as_str()), (field, value)),
            other => panic!("{other}"),
        }
    }
    for line in ["", "ready", "[]", "7", "{\"calls\":", "null", "NaN"] {
        assert_eq!(Measured::parse(line), Err(ReplyError::NotAnObject { line: line.into() }));
    }
}

#[test]
fn a_peer_answers_line_by_line_and_hears_what_it_shall_do() {
    let mut peer =
        peer(&format!("echo ready; while read line; do case $line in *'\"millis\":200'*) echo '{REPLY}';; *) exit 3;; esac; done"));
    for _ in 0..3 {
        assert_eq!(peer.measure(&load()).unwrap().calls, 2000);
    }
    let other = Load { time: Duration::from_millis(7), ..load() };
    match peer.measure(&other) {
        Err(PeerError::Ended(Some(status))) => assert_eq!(status.code(), Some(3)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(peer.measure(&load()), Err(PeerError::Ended(_))), "and it stays gone");
}

#[test]
fn a_peer_that_is_not_ready_is_refused() {
    assert!(matches!(refused("echo hello; cat", PATIENT), PeerError::NotReady(line) if line == "hello"));
    assert!(matches!(refused("exit 1", PATIENT), PeerError::Ended(Some(status)) if status.code() == Some(1)));
    let hung = Instant::now();
    assert!(matches!(refused("exec sleep 600", HASTY), PeerError::Silent { after } if after == HASTY));
    assert!(hung.elapsed() < PATIENT, "it was not waited for");
    let missing = Peer::start(Command::new("/nowhere/no-such-peer"), PATIENT).expect_err("no such program");
    assert!(missing.to_string().starts_with("/nowhere/no-such-peer does not start"), "{missing}");
}

#[test]
fn rubbish_and_silence_after_ready_are_errors_and_bounded() {
    let mut rubbish = peer("echo ready; read line; echo 'panic: runtime error'");
    assert!(
        matches!(rubbish.measure(&load()), Err(PeerError::Reply(ReplyError::NotAnObject { line })) if line.starts_with("panic"))
    );
    let mut endless = peer("echo ready; exec cat /dev/zero");
    assert!(matches!(endless.measure(&load()), Err(PeerError::Line(LineError::TooLong { .. }))));
    let mut babbling = peer("echo ready; while :; do echo y; done");
    assert!(matches!(babbling.measure(&load()), Err(PeerError::Reply(_))));
    let mut hung = peer("echo ready; exec sleep 600");
    assert!(matches!(hung.measure_within(&load(), HASTY), Err(PeerError::Silent { after }) if after == HASTY));
}

#[test]
fn a_dropped_peer_is_gone_whether_it_listens_or_not() {
    for script in ["echo ready; cat", "trap '' TERM; echo ready; while :; do sleep 0.05; done"] {
        let peer = peer(script);
        let id = peer.id();
        drop(peer);
        assert!(!std::path::Path::new(&format!("/proc/{id}/status")).exists(), "{script}");
    }
}

#[test]
fn a_peer_is_found_by_its_variable_or_named_as_missing() {
    let program = |value: Option<&str>| PeerKind::GrpcRust.program_at(value.map(Into::into));
    assert_eq!(program(None), Err(MissingPeer { peer: PeerKind::GrpcRust, path: None }));
    assert_eq!(program(Some("")), program(None));
    assert_eq!(program(None).expect_err("unset").to_string(), "the grpc crate: EVENKEEL_PEER_GRPC_RUST is not set");
    let missing = program(Some("/nowhere/peer")).expect_err("no file").to_string();
    assert_eq!(missing, "the grpc crate: EVENKEEL_PEER_GRPC_RUST names /nowhere/peer, which is no file");
    let this = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert_eq!(program(this.to_str()), Ok(this.clone()));
}
