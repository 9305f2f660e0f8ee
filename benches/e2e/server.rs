//! The servers: four of a kind in one other process.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lb_testkit::{EchoServer, LightServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tonic::transport::{Identity, ServerTlsConfig};

use super::cell::{MOST_ENDPOINTS, ServerKind};
use super::client::NAME;
use super::options::SERVE;

type Failure = Box<dyn Error>;

/// The servers' process; ends with this value.
pub(crate) struct Servers {
    process: Child,
    addresses: Vec<String>,
    certificates: Option<Certificates>,
}

impl Servers {
    pub(crate) fn spawn(kind: ServerKind, tls: bool) -> Result<Self, Failure> {
        let certificates = tls.then(Certificates::new).transpose()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SERVE, &kind.to_string()]).args(certificates.as_ref().map(|certificates| &certificates.0));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("the servers' process has no output")?;
        let addresses: Vec<String> = BufReader::new(output).lines().take(MOST_ENDPOINTS).collect::<Result<_, _>>()?;
        let servers = Self { process, addresses, certificates };
        match servers.addresses.len() {
            MOST_ENDPOINTS => Ok(servers),
            few => Err(format!("the servers' process ended after {few} addresses").into()),
        }
    }

    pub(crate) fn addresses(&self, count: usize) -> &[String] {
        &self.addresses[..count]
    }

    /// The file of the authority that signed their certificates, if they speak TLS.
    pub(crate) fn ca(&self) -> Option<PathBuf> {
        self.certificates.as_ref().map(|certificates| certificates.0.join(CA))
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It ends with its input anyway; an error here means it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A directory with an authority made on the spot, and a certificate and key it issued. Gone with this value.
struct Certificates(PathBuf);

const CA: &str = "ca.pem";
const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";

impl Certificates {
    fn new() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("evenkeel-bench-e2e-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let this = Self(directory);
        let mut params = CertificateParams::new(Vec::new())?;
        // Not the name that certificates have here without one: to gRPC C++ they would have signed themselves.
        params.distinguished_name.push(DnType::CommonName, "authority of a benchmark");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &authority)?;
        fs::write(this.0.join(CA), authority.pem())?;
        fs::write(this.0.join(CHAIN), certificate.pem())?;
        fs::write(this.0.join(KEY), key.serialize_pem())?;
        Ok(this)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Serves until the input ends.
pub(crate) fn serve(kind: ServerKind, certificates: Option<&Path>) -> Result<(), Failure> {
    match kind {
        ServerKind::Light => {
            let server = LightServer::start(MOST_ENDPOINTS, 1)?;
            server.addrs().iter().for_each(|address| println!("{address}"));
            io::stdin().read_to_end(&mut Vec::new())?;
            Ok(())
        }
        ServerKind::Tonic => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve_tonic(certificates))
        }
    }
}

async fn serve_tonic(certificates: Option<&Path>) -> Result<(), Failure> {
    let mut servers = Vec::new();
    for index in 0..MOST_ENDPOINTS {
        let mut builder = EchoServer::builder().name(format!("s{index}"));
        if let Some(files) = certificates {
            let identity = Identity::from_pem(fs::read(files.join(CHAIN))?, fs::read(files.join(KEY))?);
            builder = builder.tls(ServerTlsConfig::new().identity(identity))?;
        }
        let server = builder.start().await?;
        println!("{}", server.addr());
        servers.push(server);
    }
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
