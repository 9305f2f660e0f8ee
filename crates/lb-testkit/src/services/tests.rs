//! Against the real server: what it says over the wire, in packets made by hand.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::{Knot, require};

const A: u16 = 1;
const SRV: u16 = 33;

/// What a query brought: the response code and the data of each answer record.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u8,
    truncated: bool,
    data: Vec<Vec<u8>>,
}

fn ask(server: SocketAddr, name: &str, kind: u16) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.connect(server)?;
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    encode_name(&mut query, name);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1]);
    socket.send(&query)?;
    let mut packet = [0; 4096];
    let length = socket.recv(&mut packet)?;
    Ok(decode(&packet[..length], query.len()))
}

fn encode_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
}

/// Answers follow the question, which the server repeats; each starts with a two-byte pointer to the name in it.
fn decode(packet: &[u8], question_end: usize) -> Answer {
    assert_eq!(packet[..2], [0x12, 0x34], "an answer to another query");
    let count = u16::from_be_bytes([packet[6], packet[7]]);
    let mut at = question_end;
    let mut data = Vec::new();
    for _ in 0..count {
        assert_eq!(packet[at] & 0xc0, 0xc0, "a compressed name");
        let length = usize::from(u16::from_be_bytes([packet[at + 10], packet[at + 11]]));
        data.push(packet[at + 12..at + 12 + length].to_vec());
        at += 12 + length;
    }
    data.sort();
    Answer { code: packet[3] & 0xf, truncated: packet[2] & 2 != 0, data }
}

fn addresses(server: SocketAddr, name: &str) -> Vec<[u8; 4]> {
    let answer = ask(server, name, A).unwrap();
    answer.data.into_iter().map(|data| data.try_into().unwrap()).collect()
}

#[test]
fn records_change_while_it_runs() {
    let Some(root) = require("knot") else { return };
    let knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n_grpc._tcp.greeter 1 SRV 10 60 50051 b1\n").unwrap();
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 1]]);
    assert_eq!(ask(knot.addr(), "_grpc._tcp.greeter.test", SRV).unwrap().data[0][..6], [0, 10, 0, 60, 0xc3, 0x83]);

    knot.set("greeter", "A", 1, &["127.0.0.2", "127.0.0.3"]).unwrap();
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 2], [127, 0, 0, 3]]);
    knot.add("greeter", "A", 1, "127.0.0.4").unwrap();
    knot.remove("greeter", "A", "127.0.0.2").unwrap();
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 3], [127, 0, 0, 4]]);
    knot.set("greeter", "A", 1, &[]).unwrap();
    let gone = ask(knot.addr(), "greeter.test", A).unwrap();
    assert_eq!(gone.data, Vec::<Vec<u8>>::new());
    knot.set("new", "A", 1, &["127.0.0.9"]).unwrap();
    assert_eq!(addresses(knot.addr(), "new.test"), [[127, 0, 0, 9]]);
}

#[test]
fn a_refused_change_changes_nothing() {
    let Some(root) = require("knot") else { return };
    let knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n").unwrap();
    assert!(knot.set("greeter", "A", 1, &["127.0.0.2", "not an address"]).is_err());
    assert!(knot.remove("nobody", "A", "127.0.0.1").is_err());
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 1]]);
    knot.add("greeter", "A", 1, "127.0.0.2").unwrap();
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 1], [127, 0, 0, 2]]);
}

#[test]
fn the_whole_zone_is_replaced_also_after_single_changes() {
    let Some(root) = require("knot") else { return };
    let knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n").unwrap();
    knot.add("greeter", "A", 1, "127.0.0.2").unwrap();
    let many: String = (1..=200).map(|last| format!("many 1 A 127.0.1.{last}\n")).collect();
    knot.replace(&many).unwrap();
    assert_eq!(ask(knot.addr(), "greeter.test", A).unwrap().code, 3, "NXDOMAIN");
    assert!(ask(knot.addr(), "many.test", A).unwrap().truncated, "200 addresses do not fit into a datagram");
    knot.replace("greeter 1 A 127.0.0.7\n").unwrap();
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 7]]);
}

#[test]
fn it_counts_queries() {
    let Some(root) = require("knot") else { return };
    let knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n").unwrap();
    let before = knot.queries().unwrap();
    for _ in 0..3 {
        ask(knot.addr(), "greeter.test", A).unwrap();
    }
    assert_eq!(knot.queries().unwrap() - before, 3);
}

#[test]
fn frozen_it_is_silent_stopped_it_refuses() {
    let Some(root) = require("knot") else { return };
    let mut knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n").unwrap();
    knot.pause().unwrap();
    let silent = ask(knot.addr(), "greeter.test", A).unwrap_err();
    assert!(matches!(silent.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{silent}");
    knot.resume().unwrap();
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 1]]);

    knot.stop().unwrap();
    assert_eq!(ask(knot.addr(), "greeter.test", A).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert!(knot.pause().is_err() && knot.queries().is_err() && knot.pid().is_none());
    knot.restart().unwrap();
    assert!(knot.restart().is_err(), "it is running");
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 1]]);
}

#[test]
fn dropped_it_leaves_nothing() {
    let Some(root) = require("knot") else { return };
    let knot = Knot::start(&root, "").unwrap();
    let (pid, dir) = (knot.pid().unwrap(), knot.dir().to_owned());
    assert!(dir.is_dir());
    drop(knot);
    assert!(!dir.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the process is gone and reaped");
}

#[test]
fn a_bad_zone_is_reported_with_the_log() {
    let Some(root) = require("knot") else { return };
    let knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n").unwrap();
    assert!(knot.replace("greeter 1 A nonsense\n").is_err());
    assert_eq!(addresses(knot.addr(), "greeter.test"), [[127, 0, 0, 1]], "the old zone is served on");
}
