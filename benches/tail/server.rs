//! One endpoint as a process of its own: this program, called with [`SERVE`].

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use lb_server::{LoadRecorder, LoadReportLayer, OpenRcaService, ProbeService};
use lb_testkit::pb::echo_server::EchoServer;
use tokio::net::TcpSocket;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::service::{Profile, Worker};

/// The argument that makes this program a server; its address and its profile follow.
pub(crate) const SERVE: &str = "--serve";

/// How often a server looks how busy it is; what it reports is the mean over some ten looks.
const LOOK: Duration = Duration::from_millis(10);
const SMOOTHING: f64 = 0.1;

type Failure = Box<dyn Error + Send + Sync>;

/// Serves until the input ends.
pub(crate) fn serve(address: &str, profile: &str) -> Result<(), Failure> {
    let profile = Profile::from_argument(profile).ok_or("not a profile")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let worker = Worker::new(profile);
    let (address, served): (SocketAddr, _) = (address.parse()?, worker.clone());
    runtime.block_on(async move {
        let socket = TcpSocket::new_v4()?;
        // It comes back on its port while connections of its former life are still closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(1024)?;
        println!("{}", listener.local_addr()?);
        let load = LoadRecorder::new();
        tokio::spawn(look(load.clone(), served.clone()));
        let router = Server::builder()
            .layer(LoadReportLayer::new(load.clone()))
            .add_service(EchoServer::new(served))
            .add_service(OpenRcaService::new(load.clone()))
            .add_service(ProbeService::new(load));
        // Without it a second answer soon after a first waits 40 ms for the client's delayed acknowledgement, and that is all one sees.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tokio::spawn(router.serve_with_incoming(incoming));
        tokio::task::spawn_blocking(move || obey(&worker)).await??;
        serving.abort();
        Ok(())
    })
}

/// Tells the recorder what only the application knows.
async fn look(load: LoadRecorder, worker: Worker) {
    let (mut ticks, mut mean) = (tokio::time::interval(LOOK), 0.0);
    loop {
        ticks.tick().await;
        mean += SMOOTHING * (worker.utilization() - mean);
        // From 0 to 1 by construction, which is in range.
        let _ = load.set_application_utilization(mean);
    }
}

/// Does what lines say: `slow`, `usual`, and `calls`, which is answered.
fn obey(worker: &Worker) -> Result<(), Failure> {
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "slow" => worker.set_slow(true),
            "usual" => worker.set_slow(false),
            "calls" => println!("{}", worker.calls()),
            other => return Err(format!("cannot obey {other:?}").into()),
        }
    }
    Ok(())
}

/// A server's process; it ends with this value.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl ServerProcess {
    /// Returns when it listens.
    pub(crate) fn spawn(address: SocketAddr, profile: &Profile) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SERVE, &address.to_string(), &profile.to_argument()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("a server without input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("a server without output")?);
        let address = read_line(&mut output)?.parse()?;
        Ok(Self { child, input, output, address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Calls it was sent so far.
    pub(crate) fn calls(&mut self) -> Result<u64, Failure> {
        self.tell("calls")?;
        Ok(read_line(&mut self.output)?.parse()?)
    }

    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        Ok(writeln!(self.input, "{line}")?)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // An error here means it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_line(output: &mut BufReader<ChildStdout>) -> Result<String, Failure> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    if line.is_empty() { Err("a server ended".into()) } else { Ok(line.trim_end().to_owned()) }
}
