//! The servers: four of a kind in one other process.

use std::error::Error;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use lb_testkit::{EchoServer, LightServer};

/// The argument that makes this program the servers' process; the kind follows.
pub(crate) const SERVE: &str = "--serve";

/// How many servers, each with its own port.
const SERVERS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// Does as little as HTTP/2 allows, so that the client is what limits.
    Light,
    /// A tonic server with generated code, as users have it.
    Tonic,
}

impl ServerKind {
    pub(crate) const ALL: [Self; 2] = [Self::Light, Self::Tonic];
}

/// The servers' process; ends with this value.
pub(crate) struct Servers {
    process: Child,
    addresses: Vec<String>,
}

impl Servers {
    pub(crate) fn spawn(kind: ServerKind) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([SERVE, &kind.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("the servers' process has no output")?;
        let addresses = BufReader::new(output).lines().take(SERVERS).collect::<Result<_, _>>()?;
        Ok(Self { process, addresses })
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
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

/// Serves until the input ends.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    let kind: ServerKind = std::env::args().nth(2).ok_or("--serve needs a kind")?.parse()?;
    match kind {
        ServerKind::Light => {
            let server = LightServer::start(SERVERS, 1)?;
            server.addrs().iter().for_each(|address| println!("{address}"));
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        ServerKind::Tonic => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut servers = Vec::new();
                for index in 0..SERVERS {
                    let server = EchoServer::start(&format!("s{index}")).await?;
                    println!("{}", server.addr());
                    servers.push(server);
                }
                tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
                Ok::<_, Box<dyn Error>>(())
            })?;
        }
    }
    Ok(())
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Light => "light",
            Self::Tonic => "tonic",
        })
    }
}

impl FromStr for ServerKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "light" => Ok(Self::Light),
            "tonic" => Ok(Self::Tonic),
            _ => Err(format!("server {text:?}, allowed are light and tonic")),
        }
    }
}
