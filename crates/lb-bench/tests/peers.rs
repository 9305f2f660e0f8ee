//! What benchmarks rely on of peers: each speaks the protocol, loses no call, and takes its servers in turn. Skipped by name where a peer
//! is not built, which is everywhere until `cargo xtask peers`; `cargo xtask peers --check` runs these alone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lb_bench::peer::{CallKind, Load, Peer, PeerKind, PeerOptions};
use lb_testkit::{EchoServer, services};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tonic::transport::{Identity, ServerTlsConfig};

/// As many as benchmarks have at the most.
const SERVERS: usize = 4;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_go_takes_turns() -> Result<(), Failure> {
    takes_turns(PeerKind::Go).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_cpp_takes_turns() -> Result<(), Failure> {
    takes_turns(PeerKind::Cpp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grpc_crate_takes_turns() -> Result<(), Failure> {
    takes_turns(PeerKind::GrpcRust).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_go_has_its_other_policies() -> Result<(), Failure> {
    let Some(program) = program(PeerKind::Go) else { return Ok(()) };
    let world = World::start(None).await?;
    for (policy, used) in [("weighted_round_robin", SERVERS), ("least_request_experimental", SERVERS), ("pick_first", 1)] {
        let before = world.counts();
        let mut peer = tokio::task::block_in_place(|| world.spawn(&program, policy, 2))?;
        let measured = tokio::task::block_in_place(|| peer.measure(&load(CallKind::Unary, 16)))?;
        assert_eq!(measured.failed, 0, "{policy}");
        let counts = world.since(&before);
        assert_eq!(counts.iter().filter(|count| **count > 0).count(), used, "{policy}: {counts:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_peer_ends_with_its_input_and_says_what_it_cannot_do() -> Result<(), Failure> {
    let world = World::start(None).await?;
    for kind in [PeerKind::Go, PeerKind::Cpp, PeerKind::GrpcRust] {
        let Some(program) = program(kind) else { continue };
        let (code, said) = tokio::task::block_in_place(|| world.tell(&program, "round_robin", ""))?;
        assert_eq!((code, said.as_str()), (Some(0), ""), "{kind}");
        let orders = ["nonsense\n", "{\"kind\":\"unary\",\"concurrency\":0,\"millis\":1,\"payload\":1}\n"];
        for (policy, order) in [("round_robin", orders[0]), ("round_robin", orders[1]), ("no_such_policy", "")] {
            let (code, said) = tokio::task::block_in_place(|| world.tell(&program, policy, order))?;
            assert!(code == Some(1) && said.lines().count() >= 1, "{kind} after {policy}, {order:?}: {code:?} {said:?}");
        }
    }
    Ok(())
}

async fn takes_turns(kind: PeerKind) -> Result<(), Failure> {
    let Some(program) = program(kind) else { return Ok(()) };
    for world in [World::start(None).await?, World::start(Some(&Authority::new()?)).await?] {
        for workers in [1, 2] {
            let mut peer = tokio::task::block_in_place(|| world.spawn(&program, "round_robin", workers))?;
            for load in [1, 16].iter().flat_map(|calls| [load(CallKind::Unary, *calls), load(CallKind::Stream, *calls)]) {
                let before = world.counts();
                let measured = tokio::task::block_in_place(|| peer.measure(&load))?;
                let counts = world.since(&before);
                let told = format!("{kind}, {workers} workers, {load:?}: {counts:?} {measured:?}");
                assert_eq!(measured.failed, 0, "{told}");
                // A server counts streams, however long they are.
                let expected = if load.kind == CallKind::Unary { measured.calls } else { load.concurrency as u64 };
                assert_eq!(counts.iter().sum::<u64>(), expected, "{told}");
                assert!(counts.iter().max() <= counts.iter().min().map(|least| least + 1).as_ref(), "not in turn: {told}");
                assert!(measured.p50_us > 0.0 && measured.p50_us <= measured.max_us && measured.cpu_seconds > 0.0, "{told}");
            }
        }
    }
    Ok(())
}

fn load(kind: CallKind, concurrency: usize) -> Load {
    // Long enough that on a machine with forty other things to do each caller has its turn.
    Load { kind, concurrency, time: Duration::from_millis(500), payload: 100 }
}

/// CI need not have peers: building them takes minutes.
fn program(kind: PeerKind) -> Option<PathBuf> {
    kind.program().map_err(|missing| services::skip_test(&missing.to_string())).ok()
}

/// Servers of this process, and the authority in a file if they speak TLS.
struct World {
    servers: Vec<EchoServer>,
    addresses: Vec<String>,
    ca: Option<PathBuf>,
}

impl World {
    async fn start(authority: Option<&Authority>) -> Result<Self, Failure> {
        let mut servers = Vec::new();
        for number in 0..SERVERS {
            let builder = EchoServer::builder().name(format!("s{number}"));
            servers.push(match authority {
                Some(authority) => builder.tls(authority.server()?)?.start().await?,
                None => builder.start().await?,
            });
        }
        let addresses = servers.iter().map(|server| server.addr().to_string()).collect();
        let ca = authority.map(Authority::file).transpose()?;
        Ok(Self { servers, addresses, ca })
    }

    fn spawn(&self, program: &Path, policy: &str, workers: usize) -> Result<Peer, Failure> {
        let options = PeerOptions { servers: &self.addresses, policy, workers, ca: self.ca.as_deref() };
        Ok(Peer::spawn(program, &options)?)
    }

    /// Starts a peer, says this to it once it is ready, and lets it end: how it ended, and what it said on standard error.
    fn tell(&self, program: &Path, policy: &str, order: &str) -> Result<(Option<i32>, String), Failure> {
        let mut command = Command::new(program);
        command.args(["--servers", &self.addresses.join(","), "--policy", policy]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(output), Some(mut errors)) = pipes else { return Err("a child without pipes".into()) };
        // One that does not know the policy has ended: no line comes, and nobody reads.
        BufReader::new(output).read_line(&mut String::new())?;
        let _ = input.write_all(order.as_bytes());
        drop(input);
        let mut said = String::new();
        errors.read_to_string(&mut said)?;
        Ok((child.wait()?.code(), said))
    }

    fn counts(&self) -> Vec<u64> {
        self.servers.iter().map(|server| server.calls()).collect()
    }

    fn since(&self, before: &[u64]) -> Vec<u64> {
        self.counts().iter().zip(before).map(|(now, before)| now - before).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(file) = &self.ca {
            let _ = std::fs::remove_file(file);
        }
    }
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Without a name of its own it has the same as what it signs, which OpenSSL then takes for signed by itself.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn server(&self) -> Result<ServerTlsConfig, Failure> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &self.0)?;
        Ok(ServerTlsConfig::new().identity(Identity::from_pem(certificate.pem(), key.serialize_pem())))
    }

    fn file(&self) -> Result<PathBuf, Failure> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evenkeel-peers-{}-{number}.pem", std::process::id()));
        std::fs::write(&path, self.0.pem())?;
        Ok(path)
    }
}
