//! An authoritative name server with a zone that tests change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::rdata::TXT;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Long, so that an answer that comes from a cache would be noticed.
const TTL: u32 = 3600;

/// How many records of an answer that is too long are sent nevertheless, as real servers do.
const PARTIAL: usize = 10;

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Garbling,
    Honest,
    Saying(ResponseCode),
    Silent,
    SilentOnAaaa,
}

/// Ends when dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    zone: Mutex<HashMap<Name, Vec<RData>>>,
    mood: Mutex<Mood>,
    udp: AtomicUsize,
    tcp: AtomicUsize,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared { zone: Mutex::default(), mood: Mutex::new(Mood::Honest), udp: 0.into(), tcp: 0.into() });
        let (tcp, udp) = sockets().await;
        let address = tcp.local_addr().unwrap();
        let tasks = [tokio::spawn(serve_udp(udp, Arc::clone(&shared))), tokio::spawn(serve_tcp(tcp, Arc::clone(&shared)))];
        Self { address, shared, tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets all records of a name; without any it does not exist.
    pub(crate) fn set(&self, name: &str, records: Vec<RData>) {
        let name = Name::from_ascii(name).unwrap();
        let mut zone = self.shared.zone.lock().unwrap();
        if records.is_empty() {
            zone.remove(&name)
        } else {
            zone.insert(name, records)
        };
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub(crate) fn udp_queries(&self) -> usize {
        self.shared.udp.load(Ordering::SeqCst)
    }

    pub(crate) fn tcp_queries(&self) -> usize {
        self.shared.tcp.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Both on the same port.
async fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (tcp, udp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        shared.udp.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = shared.answer(&buffer[..length], false) {
            socket.send_to(&answer, client).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_connection(stream, Arc::clone(&shared)));
    }
}

/// Until the client closes.
async fn serve_connection(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        shared.tcp.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = shared.answer(&query, true) {
            let length = u16::try_from(answer.len()).unwrap();
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
    }
}

impl Shared {
    fn answer(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.add_query(question.clone());
        match *self.mood.lock().unwrap() {
            Mood::Silent => return None,
            Mood::SilentOnAaaa if question.query_type() == RecordType::AAAA => return None,
            Mood::Garbling => return Some([&query.metadata.id.to_be_bytes()[..], &[0xff; 40]].concat()),
            Mood::Saying(code) => answer.metadata.response_code = code,
            Mood::Honest | Mood::SilentOnAaaa => self.fill(&mut answer, question.name(), question.query_type()),
        }
        let bytes = answer.to_vec().unwrap();
        if tcp || bytes.len() <= query.max_payload().into() {
            return Some(bytes);
        }
        answer.metadata.truncation = true;
        answer.answers.truncate(PARTIAL);
        Some(answer.to_vec().unwrap())
    }

    fn fill(&self, answer: &mut Message, name: &Name, kind: RecordType) {
        let zone = self.zone.lock().unwrap();
        let Some(records) = zone.get(name) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            return;
        };
        for data in records {
            if data.record_type() == kind || data.record_type() == RecordType::CNAME {
                answer.add_answer(Record::from_rdata(name.clone(), TTL, data.clone()));
            }
        }
    }
}

pub(crate) fn a(address: &str) -> RData {
    RData::A(address.parse::<std::net::Ipv4Addr>().unwrap().into())
}

pub(crate) fn aaaa(address: &str) -> RData {
    RData::AAAA(address.parse::<std::net::Ipv6Addr>().unwrap().into())
}

pub(crate) fn cname(name: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(name).unwrap()))
}

pub(crate) fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
}

pub(crate) fn txt(strings: &[&str]) -> RData {
    RData::TXT(TXT::new(strings.iter().map(|text| (*text).to_owned()).collect()))
}
