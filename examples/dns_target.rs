//! A `dns:` target whose SRV records bring ports and weights, asked of a name server of one's own on a loopback port.
//! The records are looked up again when their time to live ends, so a server that is added gets calls without a restart.
//! Run it with `cargo run --example dns_target`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel::LbChannel;
use evenkeel::resolver::{DnsConfig, DnsResolver};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::net::UdpSocket;

use support::{Failure, PATIENCE, key, servers, serves, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    let port = |index: usize| servers[index].addr().port();
    let zone = Zone::default();
    zone.set(&[(port(0), 1), (port(1), 3)]);
    let name_server = zone.serve().await?;

    // Records are trusted for as long as they say, though not shorter than the first bound and not longer than the second; by
    // default these are 5 s and 5 min, which is long for a demonstration.
    let config = DnsConfig::new().with_refresh(Duration::from_millis(200), Duration::from_secs(1))?;
    // An underscore asks for SRV records; `dns:///orders.test:50051` would ask for A and AAAA. Without a name server in the target
    // the system's are asked.
    let builder = LbChannel::builder(format!("dns://{name_server}/_grpc._tcp.orders.test"));
    let builder = builder.resolver(DnsResolver::with_config(config)).policy("weighted_round_robin");
    let channel = builder.connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| servers[..2].iter().all(|server| serves(endpoints, &key(server)))).await?;
    let answered = who_answers(&channel).await?;
    println!("weights 1 and 3:            {answered:?}");
    assert_eq!(answered, BTreeMap::from([("s0".to_owned(), 15), ("s1".to_owned(), 45)]));

    zone.set(&[(port(0), 1), (port(1), 3), (port(2), 2)]);
    until(&channel, "the third serves", |endpoints| serves(endpoints, &key(&servers[2]))).await?;
    let answered = who_answers(&channel).await?;
    println!("another one of weight 2:    {answered:?}");
    assert_eq!(answered["s2"], 20);
    Ok(())
}

/// How many of a few calls each server answers.
async fn who_answers(channel: &LbChannel) -> Result<BTreeMap<String, u32>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut counts = BTreeMap::new();
    for _ in 0..60 {
        *counts.entry(client.unary(EchoRequest::default()).await?.into_inner().server).or_default() += 1;
    }
    Ok(counts)
}

/// A name server that knows one service, on 127.0.0.1: just enough of DNS for the example, nothing to learn from.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Vec<(u16, u16)>>>);

impl Zone {
    /// The ports and weights of the service.
    fn set(&self, records: &[(u16, u16)]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = records.to_vec();
    }

    /// Answers queries on a free port for as long as the program runs.
    async fn serve(&self) -> Result<SocketAddr, Failure> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, zone) = (socket.local_addr()?, self.clone());
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                if let Some(answer) = zone.answer(&query[..length]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(address)
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        const SRV: [u8; 2] = [0, 33];
        const A: [u8; 2] = [0, 1];
        // The question begins after 12 bytes: a name that ends in a zero byte, two bytes of type, two of class.
        let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
        let kind = query.get(end - 4..end - 2)?;
        let records: Vec<Vec<u8>> = match kind {
            _ if kind == SRV => self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(srv).collect(),
            _ if kind == A => vec![Ipv4Addr::LOCALHOST.octets().to_vec()],
            _ => Vec::new(),
        };
        // The id of the query, "an authoritative answer without error", one question, so many answers, nothing else.
        let mut answer = [&query[..2], &[0x84, 0, 0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]].concat();
        answer.extend_from_slice(query.get(12..end)?);
        for record in records {
            // The name of the question, its type, class IN, a time to live of 1 s, the length of the data.
            answer.extend_from_slice(&[&[0xc0, 12], kind, &[0, 1, 0, 0, 0, 1, 0, u8::try_from(record.len()).ok()?]].concat());
            answer.extend_from_slice(&record);
        }
        Some(answer)
    }
}

/// Priority 0, the weight, the port, and the name of a machine.
fn srv((port, weight): &(u16, u16)) -> Vec<u8> {
    let [port, weight] = [port.to_be_bytes(), weight.to_be_bytes()];
    [&[0, 0], &weight[..], &port[..], b"\x07machine\x06orders\x04test\x00"].concat()
}
