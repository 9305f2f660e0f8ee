//! The four endpoints of a scenario, and what happens to the last of them.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::scenario::{Disturbance, ENDPOINTS, Scenario};
use super::server::ServerProcess;
use super::service::Profile;

type Failure = Box<dyn Error + Send + Sync>;

/// Servers of their own for one measurement: nothing they learned or queued for the one before disturbs it.
#[derive(Debug)]
pub(crate) struct Fleet {
    steady: Vec<ServerProcess>,
    odd: Odd,
    addresses: Vec<SocketAddr>,
}

/// The last endpoint, here or with the thread that disturbs it.
#[derive(Debug)]
enum Odd {
    Idle(Box<Life>),
    Disturbed { stop: Sender<()>, thread: JoinHandle<Result<Life, Failure>> },
    Lost,
}

#[derive(Debug)]
struct Life {
    server: Option<ServerProcess>,
    profile: Profile,
    address: SocketAddr,
    /// Calls of former lives.
    calls: u64,
}

impl Fleet {
    pub(crate) fn start(scenario: &Scenario) -> Result<Self, Failure> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let spawn = |index| ServerProcess::spawn(free, scenario.profile(index));
        let steady = (0..ENDPOINTS - 1).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let odd = spawn(ENDPOINTS - 1)?;
        let addresses = steady.iter().chain([&odd]).map(|server| server.address).collect();
        let life = Life { address: odd.address, server: Some(odd), profile: scenario.odd.clone(), calls: 0 };
        Ok(Self { steady, odd: Odd::Idle(Box::new(life)), addresses })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins what happens to the last endpoint.
    pub(crate) fn disturb(&mut self, disturbance: Disturbance) {
        if let Odd::Idle(life) = std::mem::replace(&mut self.odd, Odd::Lost) {
            let (stop, stopped) = channel();
            let thread = thread::spawn(move || life.disturbed(disturbance, &stopped));
            self.odd = Odd::Disturbed { stop, thread };
        }
    }

    /// Ends it, when the cycle that has begun is over.
    pub(crate) fn calm(&mut self) -> Result<(), Failure> {
        self.odd = match std::mem::replace(&mut self.odd, Odd::Lost) {
            Odd::Disturbed { stop, thread } => {
                drop(stop);
                let life = thread.join().map_err(|_| "the thread that disturbs an endpoint panicked")??;
                Odd::Idle(Box::new(life))
            }
            calm => calm,
        };
        Ok(())
    }

    /// Calls each endpoint was sent so far; those that came after the last look before it was killed are not counted.
    pub(crate) fn calls(&mut self) -> Result<Vec<u64>, Failure> {
        self.calm()?;
        let mut calls = self.steady.iter_mut().map(ServerProcess::calls).collect::<Result<Vec<_>, _>>()?;
        let Odd::Idle(life) = &mut self.odd else { return Err("the last endpoint is lost".into()) };
        let last = life.server.as_mut().map_or(Ok(0), ServerProcess::calls)?;
        calls.push(life.calls + last);
        Ok(calls)
    }

    /// CPU time of all that live, in seconds.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let odd = match &self.odd {
            Odd::Idle(life) => life.server.as_ref(),
            Odd::Disturbed { .. } | Odd::Lost => None,
        };
        self.steady.iter().chain(odd).map(ServerProcess::id).collect()
    }
}

impl Life {
    /// Whole cycles of it, until told to stop.
    fn disturbed(mut self, disturbance: Disturbance, stop: &Receiver<()>) -> Result<Self, Failure> {
        match disturbance {
            Disturbance::None => {}
            Disturbance::Flaps(half) => loop {
                self.tell("slow")?;
                thread::sleep(half);
                self.tell("usual")?;
                if over(stop, half) {
                    break;
                }
            },
            Disturbance::Dies(after, every) => loop {
                thread::sleep(every - after);
                if let Some(mut server) = self.server.take() {
                    self.calls += server.calls()?;
                }
                thread::sleep(after);
                self.server = Some(ServerProcess::spawn(self.address, &self.profile)?);
                if over(stop, Duration::ZERO) {
                    break;
                }
            },
            Disturbance::Pauses(pause, every) => {
                let Some(server) = &self.server else { return Ok(self) };
                let _signals = Signals::start(server.id(), pause, every)?;
                while !over(stop, every) {}
            }
        }
        Ok(self)
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        self.server.as_mut().map_or(Ok(()), |server| server.tell(line))
    }
}

/// Waits so long; whether it was told to stop.
fn over(stop: &Receiver<()>, time: Duration) -> bool {
    !matches!(stop.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

/// Stops and continues a process. The standard library sends no such signals; a shell does.
#[derive(Debug)]
struct Signals {
    shell: Child,
    process: u32,
}

/// Bounded, so that it ends even if nobody is left to end it.
const SCRIPT: &str = "for turn in $(seq 60); do kill -STOP $1 || exit; sleep $2; kill -CONT $1; sleep $3; done";

impl Signals {
    fn start(process: u32, pause: Duration, every: Duration) -> Result<Self, Failure> {
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        let words = [process.to_string(), seconds(pause), seconds(every.saturating_sub(pause))];
        let shell = Command::new("sh").args(["-c", SCRIPT, "sh"]).args(words).spawn()?;
        Ok(Self { shell, process })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Errors mean that it has ended; then the server runs.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        let _ = Command::new("sh").args(["-c", "kill -CONT $1", "sh", &self.process.to_string()]).status();
    }
}
