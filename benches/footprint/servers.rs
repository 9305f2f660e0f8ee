//! Servers to connect to: many listening sockets in few processes.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use lb_testkit::EchoServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::channel;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

/// The argument that makes this program a process of servers; how many, which process it is, and `tls` or `plain` follow.
pub(crate) const SERVE: &str = "--serve";

/// Listening sockets of one process: with as many connections it stays within usual limits.
const MOST_PER_PROCESS: usize = 2500;

/// The name in the certificate.
pub(crate) const NAME: &str = "localhost";

type Failure = Box<dyn Error + Send + Sync>;

/// Running servers; they end with this value.
pub(crate) struct Servers {
    processes: Vec<Child>,
    pub(crate) addresses: Vec<String>,
    /// The authority of their certificates, in PEM.
    pub(crate) ca: Option<String>,
}

impl Servers {
    /// Returns when all listen. With TLS all must be in one process, whose certificate they share.
    pub(crate) fn start(count: usize, tls: bool) -> Result<Self, Failure> {
        let mut servers = Self { processes: Vec::new(), addresses: Vec::new(), ca: None };
        while servers.addresses.len() < count {
            let (process, rest) = (servers.processes.len(), count - servers.addresses.len());
            if tls && process > 0 {
                return Err(format!("{count} servers with TLS; at most {MOST_PER_PROCESS}").into());
            }
            let words = [rest.min(MOST_PER_PROCESS).to_string(), process.to_string(), if tls { "tls" } else { "plain" }.into()];
            let mut command = Command::new(std::env::current_exe()?);
            let mut child = command.arg(SERVE).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let output = child.stdout.take();
            servers.processes.push(child);
            let mut line = String::new();
            BufReader::new(output.ok_or("servers without output")?).read_line(&mut line)?;
            let said: Value = serde_json::from_str(&line)?;
            let addresses = said["addresses"].as_array().ok_or("servers without addresses")?;
            servers.addresses.extend(addresses.iter().filter_map(Value::as_str).map(str::to_owned));
            servers.ca = said["ca"].as_str().map(str::to_owned);
        }
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // An error here means it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Serves until the input ends.
pub(crate) fn serve(count: &str, process: &str, security: &str) -> Result<(), Failure> {
    let (count, process): (usize, u8) = (count.parse()?, process.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut addresses, (connections, incoming)) = (Vec::new(), channel(64));
        for _ in 0..count {
            // An address of its own for each process, so that no process uses up the ports of 127.0.0.1.
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, 1 + process), 0)).await?;
            addresses.push(listener.local_addr()?);
            let connections = connections.clone();
            // As tonic's own listener has it.
            let undelayed = |stream: TcpStream| stream.set_nodelay(true).map(|()| stream);
            tokio::spawn(async move {
                while connections.send(listener.accept().await.and_then(|(stream, _)| undelayed(stream))).await.is_ok() {}
            });
        }
        let mut server = Server::builder();
        let mut ca = None;
        if security == "tls" {
            let (authority, chain, key) = certificate()?;
            server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(chain, key)))?;
            ca = Some(authority);
        }
        let (_, echo) = EchoServer::builder().service();
        tokio::spawn(server.add_service(echo).serve_with_incoming(ReceiverStream::new(incoming)));
        println!("{}", json!({ "addresses": addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>(), "ca": ca }));
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}

/// An authority, and a certificate of its with the key.
fn certificate() -> Result<(String, String, String), Failure> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}
