//! Clients that are not of this process: peers, and Envoy with a client of this process in front.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lb_bench::Sample;
use lb_bench::peer::{Load, Measured, Peer, PeerKind, PeerOptions};
use serde_json::{Value, json};

use super::cell::Cell;
use super::measure::{CPU, P50, P99, RATE};
use super::server::Servers;

type Failure = Box<dyn Error>;

/// How long Envoy may take to listen.
const START: Duration = Duration::from_secs(20);

/// Starts a peer that calls the servers of a cell, on the client's cores.
pub(crate) fn start(kind: PeerKind, cell: &Cell, servers: &Servers) -> Result<Peer, Failure> {
    let ca = servers.ca();
    let servers = servers.addresses(cell.endpoints);
    let options = PeerOptions { servers, policy: "round_robin", workers: cell.placement.workers(), ca: ca.as_deref() };
    let peer = Peer::spawn(&kind.program()?, &options)?;
    cell.placement.pin_client(peer.id());
    Ok(peer)
}

/// Has a peer make calls.
pub(crate) fn measure(peer: &mut Peer, cell: &Cell, time: Duration) -> Result<Sample, Failure> {
    let load = Load { kind: cell.call, concurrency: cell.concurrency, time, payload: cell.payload };
    let measured: Measured = peer.measure(&load)?;
    if measured.failed > 0 {
        return Err(format!("{} of {} calls failed", measured.failed, measured.failed + measured.calls).into());
    }
    let sample = Sample::new().with(CPU, measured.cpu_us()).with(RATE, measured.rate());
    Ok(sample.with(P50, measured.p50_us).with(P99, measured.p99_us).with("p99.9 µs", measured.p999_us))
}

/// Envoy in front of the servers of a cell, as a sidecar would be: on the client's cores. Ends with this value.
pub(crate) struct Envoy {
    process: Child,
    address: String,
}

impl Envoy {
    pub(crate) fn start(cell: &Cell, servers: &Servers) -> Result<Self, Failure> {
        let said = std::env::temp_dir().join(format!("evenkeel-bench-envoy-{}", std::process::id()));
        let _ = std::fs::remove_file(&said);
        let mut command = Command::new(PeerKind::Envoy.program()?);
        command.args(["--config-yaml", &config(servers.addresses(cell.endpoints))?.to_string()]);
        command.args(["--concurrency", &cell.placement.workers().to_string(), "--disable-hot-restart", "-l", "off"]);
        command.arg("--admin-address-path").arg(&said);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut envoy = Self { process, address: String::new() };
        let address = envoy.listening(&said);
        let _ = std::fs::remove_file(said);
        envoy.address = address?;
        cell.placement.pin_client(envoy.id());
        Ok(envoy)
    }

    /// Where it takes calls.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it says where it listens; it chose the ports itself.
    fn listening(&mut self, said: &Path) -> Result<String, Failure> {
        let until = Instant::now() + START;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("Envoy has ended: {status}").into());
            }
            if let Some(address) = listener(said) {
                return Ok(address);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("Envoy does not listen within {START:?}").into())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // An error here means it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks the admin interface, whose address is in this file once it is there, for the listener's address; `None` while it is not ready.
fn listener(said: &Path) -> Option<String> {
    let admin: SocketAddr = std::fs::read_to_string(said).ok()?.trim().parse().ok()?;
    let get = |path: &str| {
        let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.take(1 << 16).read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    get("/ready")?.contains("LIVE").then_some(())?;
    let listeners = get("/listeners")?;
    let address = listeners.lines().find_map(|line| line.trim().strip_prefix("grpc::"))?;
    address.parse::<SocketAddr>().ok().map(|address| address.to_string())
}

/// One listener for HTTP/2 without TLS, and the servers in turn.
fn config(servers: &[String]) -> Result<Value, Failure> {
    let anywhere = json!({"socket_address": {"address": Ipv4Addr::LOCALHOST, "port_value": 0}});
    let mut endpoints = Vec::new();
    for server in servers {
        let server: SocketAddr = server.parse()?;
        let address = json!({"socket_address": {"address": server.ip(), "port_value": server.port()}});
        endpoints.push(json!({"endpoint": {"address": address}}));
    }
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "echo", "timeout": "0s"}});
    let filter = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": manager,
            "codec_type": "HTTP2",
            "stat_prefix": "grpc",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        },
    });
    let protocol = json!({"@type": options, "explicit_http_config": {"http2_protocol_options": {}}});
    let cluster = json!({
        "name": "echo",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {"cluster_name": "echo", "endpoints": [{"lb_endpoints": endpoints}]},
    });
    Ok(json!({
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": anywhere},
        "static_resources": {
            "listeners": [{"name": "grpc", "address": anywhere, "filter_chains": [{"filters": [filter]}]}],
            "clusters": [cluster],
        },
    }))
}
