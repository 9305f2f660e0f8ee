//! Servers in processes of their own, to be killed, frozen and measured.
//!
//! A server in the test's process cannot be killed: its kernel never sees the process die. These run the binaries of this crate as
//! children. A child dies with its parent's handle, and, because it watches its standard input, with the parent itself.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::netns::Namespace;
use crate::port::ReservedPort;

/// An echo server in a child process, on a port that stays its own across deaths.
#[derive(Debug)]
pub struct EchoProcess {
    place: Place,
    args: Vec<String>,
    server: Option<Server>,
}

/// Where a child listens.
#[derive(Debug)]
enum Place {
    Here(ReservedPort),
    /// In a namespace of its own, where every port is free.
    Apart(Namespace),
}

/// The port of whoever has a namespace of its own.
const PORT: u16 = 50051;

/// A [`LightServer`](crate::LightServer) in a child process.
#[derive(Debug)]
pub struct LightProcess {
    addrs: Vec<SocketAddr>,
    server: Server,
}

#[derive(Debug)]
struct Server {
    child: Child,
    stdin: ChildStdin,
}

impl EchoProcess {
    /// Starts one that answers with this name; it listens when this returns. Builds the binary if nothing has yet.
    pub async fn spawn(name: &str) -> io::Result<Self> {
        Self::spawn_with(name, &[]).await
    }

    /// The same with further flags of `lb-testkit-echo`, such as `["--max-concurrent-streams", "1"]`.
    pub async fn spawn_with(name: &str, flags: &[&str]) -> io::Result<Self> {
        Self::spawn_at(Place::Here(ReservedPort::new()?), name, flags).await
    }

    /// The same in a network namespace of its own.
    pub async fn spawn_in(namespace: Namespace, name: &str, flags: &[&str]) -> io::Result<Self> {
        Self::spawn_at(Place::Apart(namespace), name, flags).await
    }

    async fn spawn_at(place: Place, name: &str, flags: &[&str]) -> io::Result<Self> {
        let bind = place.addr().to_string();
        let args = ["--name", name, "--bind", &bind].iter().chain(flags).map(|arg| (*arg).to_owned()).collect();
        let mut process = Self { place, args, server: None };
        process.restart().await?;
        Ok(process)
    }

    /// Where it listens, while it lives.
    pub fn addr(&self) -> SocketAddr {
        self.place.addr()
    }

    /// The namespace it runs in, if it has one of its own.
    pub fn namespace(&self) -> Option<&Namespace> {
        match &self.place {
            Place::Here(_) => None,
            Place::Apart(namespace) => Some(namespace),
        }
    }

    /// The URI a plain tonic channel connects to.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The id of the process, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().and_then(|server| server.child.id())
    }

    /// SIGKILL. Returns when the process is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        match self.server.take() {
            Some(mut server) => server.child.kill().await,
            None => Ok(()),
        }
    }

    /// SIGSTOP: the sockets stay, nothing answers.
    pub async fn freeze(&self) -> io::Result<()> {
        self.signal("STOP").await
    }

    /// SIGCONT.
    pub async fn thaw(&self) -> io::Result<()> {
        self.signal("CONT").await
    }

    /// Starts it again on the same port; one that lives is killed first.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill().await?;
        let (server, _) = Server::spawn("lb-testkit-echo", &self.place.prefix(), &self.args, 1).await?;
        self.server = Some(server);
        Ok(())
    }

    /// Tells it something, in a line: `latency 5` (ms), `fail 14`, `hang`, `heal`, `goaway`, `shutdown`. It acts soon after.
    pub async fn tell(&mut self, line: &str) -> io::Result<()> {
        let server = self.server.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        server.stdin.write_all(format!("{line}\n").as_bytes()).await
    }

    /// The standard library cannot send these signals; the shell of every Unix can.
    async fn signal(&self, signal: &str) -> io::Result<()> {
        let id = self.id().ok_or(io::ErrorKind::NotConnected)?;
        let status = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().await?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -{signal} {id}: {status}"))) }
    }
}

impl Place {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Here(port) => port.addr(),
            Self::Apart(namespace) => (namespace.address(), PORT).into(),
        }
    }

    fn prefix(&self) -> Vec<String> {
        match self {
            Self::Here(_) => Vec::new(),
            Self::Apart(namespace) => namespace.prefix(),
        }
    }
}

impl LightProcess {
    /// Starts one with `ports` ports over `threads` threads; it listens when this returns.
    pub async fn spawn(ports: usize, threads: usize) -> io::Result<Self> {
        let args = ["--ports".to_owned(), ports.to_string(), "--threads".to_owned(), threads.to_string()];
        let (server, addrs) = Server::spawn("lb-testkit-light", &[], &args, ports.max(1)).await?;
        Ok(Self { addrs, server })
    }

    /// Where it listens.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The id of the process, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.server.child.id()
    }
}

impl Server {
    /// Runs a binary of this crate, with these words in front, and reads the addresses it prints, one per line.
    async fn spawn(binary: &str, prefix: &[String], args: &[String], ports: usize) -> io::Result<(Self, Vec<SocketAddr>)> {
        let path = locate(binary).await?;
        let mut words = prefix.iter().map(OsStr::new).chain([path.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(path.as_os_str()));
        command.args(words).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child without pipes"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let mut addrs = Vec::new();
        while addrs.len() < ports {
            let line = lines.next_line().await?.ok_or_else(|| io::Error::other(format!("{binary} ended before it listened")))?;
            addrs.push(line.parse().map_err(|error| io::Error::other(format!("{binary} said {line:?}: {error}")))?);
        }
        Ok((Self { child, stdin }, addrs))
    }
}

/// The binary beside the one that runs; built if it is not there.
async fn locate(binary: &str) -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    if let Some(found) = beside(&own, binary) {
        return Ok(found);
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--package", "lb-testkit", "--bin", binary]);
    if own.components().any(|part| part.as_os_str() == OsStr::new("release")) {
        command.arg("--release");
    }
    let status = command.status().await?;
    beside(&own, binary)
        .ok_or_else(|| io::Error::other(format!("{binary} is not beside {} after building it: {status}", own.display())))
}

/// Test binaries are in `target/PROFILE/deps`, examples in `target/PROFILE/examples`, programs in `target/PROFILE`.
fn beside(own: &Path, binary: &str) -> Option<PathBuf> {
    let file = format!("{binary}{}", env::consts::EXE_SUFFIX);
    own.ancestors().skip(1).take(2).map(|dir| dir.join(&file)).find(|path| path.is_file())
}
