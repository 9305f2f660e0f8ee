//! What a client cannot take: memory, time, places.

use std::time::{Duration, Instant};

use lb_admin::{Admin, AdminLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, ask, get};
use crate::support::{idle, orders};

const STATS: &str = "/api/v1/loadbalancer/stats";

fn short() -> AdminLimits {
    let short = Duration::from_millis(200);
    AdminLimits::new().times(short, short, short)
}

/// Sends so many bytes, and stops when the other side is no longer interested.
async fn pour(connection: &mut TcpStream, bytes: usize) {
    let some = vec![b'x'; 64 * 1024];
    for _ in 0..bytes / some.len() {
        if connection.write_all(&some).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_and_its_sender_learns_why() {
    let admin = Admin::builder().serve().await.unwrap();
    let addr = admin.local_addr();
    let announced = ask("POST", STATS).header("content-length", "104857600").bytes(addr);
    let chunked = ask("POST", STATS).header("transfer-encoding", "chunked").bytes(addr) + "6400000\r\n";
    for head in [announced, chunked] {
        let mut connection = TcpStream::connect(addr).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = connection.split();
        let mut answer = Vec::new();
        let some = vec![b'x'; 64 * 1024];
        let pour = async {
            for _ in 0..1600 {
                if writer.write_all(&some).await.is_err() {
                    return;
                }
            }
        };
        let (read, ()) = tokio::join!(reader.read_to_end(&mut answer), pour);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{read:?} {answer}");
        assert!(answer.contains("262144 bytes"), "{answer}");
    }
    // The limit itself is not too much.
    let body = ask("POST", STATS).header("content-length", "262144").bytes(addr) + &"x".repeat(262_144);
    let mut connection = TcpStream::connect(addr).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    Answer::read(&mut connection).await.problem(405);
}

#[tokio::test]
async fn a_slow_client_loses_its_place() {
    let admin = Admin::builder().limits(short()).serve().await.unwrap();
    let addr = admin.local_addr();
    // Says nothing, half a head, half a body.
    let began = Instant::now();
    for text in ["", "GET /health HT"] {
        let mut connection = TcpStream::connect(addr).await.unwrap();
        connection.write_all(text.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = connection.read_to_end(&mut rest).await;
    }
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let half = ask("POST", STATS).header("content-length", "10").bytes(addr) + "12345";
    connection.write_all(half.as_bytes()).await.unwrap();
    let detail = Answer::read(&mut connection).await.problem(408);
    assert!(detail.contains("0.2 s"), "{detail}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_place() {
    let large = "x".repeat(32 * 1024 * 1024);
    let limits = short().connections(1);
    let admin = Admin::builder().limits(limits).metrics(move || Ok::<_, String>(large.clone())).serve().await.unwrap();
    let addr = admin.local_addr();
    let mut deaf = TcpStream::connect(addr).await.unwrap();
    deaf.write_all(get("/metrics").bytes(addr).as_bytes()).await.unwrap();
    // It has the only place; then it has not.
    let free = async { while get("/health").of(addr).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), free).await.unwrap();
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).limits(AdminLimits::new().connections(1)).serve().await.unwrap();
    let addr = admin.local_addr();
    let first = TcpStream::connect(addr).await.unwrap();
    let mut second = TcpStream::connect(addr).await.unwrap();
    assert_eq!(Answer::read(&mut second).await.problem(503), "too many connections are open");
    drop(first);
    let free = async { while get("/health").of(addr).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(5), free).await.unwrap();
}

#[tokio::test]
async fn one_change_too_many_is_told_to_come_again() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).serve().await.unwrap();
    let addr = admin.local_addr();
    let drain = "/api/v1/loadbalancer/instances/orders/127.0.0.1%3A1/drain";
    // Each has a place until its body is there.
    let half = ask("POST", drain).header("content-length", "10").bytes(addr) + "12345";
    let mut half_done = Vec::new();
    for _ in 0..16 {
        let mut connection = TcpStream::connect(addr).await.unwrap();
        connection.write_all(half.as_bytes()).await.unwrap();
        half_done.push(connection);
    }
    let refused = async {
        loop {
            let answer = ask("POST", drain).of(addr).await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert_eq!((answer.problem(429).as_str(), answer.header("retry-after")), ("too many changes are being made", Some("1")));
    assert_eq!(get(STATS).of(addr).await.status, 200, "looking is no change");
    drop(half_done);
    let free = async { while ask("POST", drain).of(addr).await.status == 429 {} };
    tokio::time::timeout(Duration::from_secs(10), free).await.unwrap();
}

#[tokio::test]
async fn heads_are_bounded() {
    let admin = Admin::builder().serve().await.unwrap();
    let addr = admin.local_addr();
    let mut connection = TcpStream::connect(addr).await.unwrap();
    connection.write_all(b"GET /health HTTP/1.1\r\nx-long: ").await.unwrap();
    pour(&mut connection, 1024 * 1024).await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(get("/health").of(addr).await.status, 200);
}
