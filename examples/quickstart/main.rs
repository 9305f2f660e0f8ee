//! Four servers, one channel, and everything that happens to servers: one is killed, one drained, one added, the policy is
//! changed, the killed one comes back. Calls never stop meanwhile, and none fails.
//! Run it with `cargo run --example quickstart`; it ends by itself in under 20 s, with exit code 0 if no call failed.

mod fleet;
mod load;
mod progress;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use evenkeel::resolver::ManualResolver;
use evenkeel::{BackoffConfig, ConnectivityState, LbChannel};
use serde_json::json;

use fleet::Fleet;
use load::Load;

type Failure = Box<dyn Error>;

/// Calls in progress at any time: enough to keep five servers busy, few enough for one core of a laptop.
const CALLERS: usize = 12;

/// How long each phase lasts: a few hundred calls per server.
const PHASE: Duration = Duration::from_secs(2);

/// The longest wait for a server to come back.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    match Demo::start().await {
        Ok(demo) => demo.run().await.unwrap_or_else(|error| {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }),
        Err(error) => {
            eprintln!("quickstart could not start: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    fleet: Fleet,
    channel: LbChannel,
    load: Load,
    started: Instant,
    phases: u32,
    calls: u64,
    failed: u64,
}

impl Demo {
    async fn start() -> Result<Self, Failure> {
        // A resolver that says what the program tells it. In earnest the target would be something like "dns:///orders:50051".
        let (resolver, endpoints) = ManualResolver::new("demo");
        let fleet = Fleet::start(endpoints).await?;
        // The default waits up to two minutes between attempts to reach a server that is away; a demo has less time.
        let backoff = BackoffConfig::default().with_initial(Duration::from_millis(100))?.with_max(Duration::from_millis(500))?;
        let channel = LbChannel::builder("demo:///echo").resolver(resolver).backoff(backoff).connect(PATIENCE).await?;
        for (name, ..) in fleet::AT_FIRST {
            reaches(&channel, fleet.key(name)?.as_str(), ConnectivityState::Ready).await?;
        }
        println!("Four echo servers in this process, one channel, {CALLERS} calls in flight at any time.");
        let load = Load::start(&channel, CALLERS);
        Ok(Self { fleet, channel, load, started: Instant::now(), phases: 0, calls: 0, failed: 0 })
    }

    async fn run(mut self) -> Result<ExitCode, Failure> {
        self.phase("balance", "round_robin gives every server the same share, whatever its speed").await;

        let noticed = self.kill("b").await?;
        let what = format!(
            "b dies without a goodbye and its port refuses; out of rotation {} later\n\
             (calls pause for the moment: one in flight on b would fail with UNAVAILABLE, naming it)",
            millis(noticed)
        );
        self.phase("kill", &what).await;

        self.channel.drain(self.fleet.key("c")?);
        self.phase("drain", "c gets no new calls; those it has finish, its connection stays").await;

        self.fleet.add("e", Duration::from_millis(6)).await?;
        reaches(&self.channel, self.fleet.key("e")?.as_str(), ConnectivityState::Ready).await?;
        self.phase("add", "the resolver lists a new server, e").await;

        self.channel.set_policy("least_request", &json!({ "choiceCount": 2 }))?;
        self.phase("policy", "least_request sends more to those that answer sooner; no connection is touched").await;

        let back = self.bring_back("b").await?;
        self.channel.undrain(self.fleet.key("c")?);
        self.phase("return", &format!("b is started again and READY {} later; c is taken back from its drain", millis(back))).await;
        Ok(self.finish().await)
    }

    /// Lets the calls go on for a while, then shows what became of them.
    async fn phase(&mut self, name: &str, what: &str) {
        self.phases += 1;
        println!("\n{}", table::headline(self.phases, name, what));
        // What happened while the phase was prepared belongs to none; it counts in the end all the same.
        self.count();
        let (began, before) = (Instant::now(), self.channel.endpoints());
        progress::watch(name, PHASE, &self.load).await;
        let recorded = self.count();
        println!("{}", table::render(&before, &self.channel.endpoints(), &self.fleet, &recorded, began.elapsed()));
    }

    fn count(&mut self) -> load::Recorded {
        let recorded = self.load.take();
        self.calls += recorded.calls();
        self.failed += recorded.failed;
        if let Some(failure) = &recorded.first_failure {
            eprintln!("a call failed: {failure}");
        }
        recorded
    }

    /// Kills a server under the eyes of the channel, and says how long it took the channel to notice.
    ///
    /// A call in flight on a killed server fails with UNAVAILABLE, because nobody knows whether the server has done it. So that no
    /// call can fail here, the callers hold their breath: the server dies between two calls.
    async fn kill(&mut self, name: &str) -> Result<Duration, Failure> {
        let key = self.fleet.key(name)?;
        let _paused = self.load.pause().await;
        self.fleet.server(name)?.kill().await;
        let killed = Instant::now();
        while self.state(key.as_str()) == Some(ConnectivityState::Ready) {
            if killed.elapsed() > PATIENCE {
                return Err(format!("the channel still takes {name} for READY {PATIENCE:?} after its death").into());
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        Ok(killed.elapsed())
    }

    /// Starts a killed server again on its old port, and says how long it took the channel to use it.
    async fn bring_back(&mut self, name: &str) -> Result<Duration, Failure> {
        let key = self.fleet.key(name)?;
        self.fleet.server(name)?.restart().await?;
        let restarted = Instant::now();
        reaches(&self.channel, key.as_str(), ConnectivityState::Ready).await?;
        Ok(restarted.elapsed())
    }

    fn state(&self, key: &str) -> Option<ConnectivityState> {
        state(&self.channel, key)
    }

    async fn finish(mut self) -> ExitCode {
        self.load.stop().await;
        self.count();
        let (calls, seconds) = (table::thousands(self.calls), self.started.elapsed().as_secs_f64());
        match self.failed {
            0 => println!("\n{calls} calls in {seconds:.1} s, zero failed."),
            failed => println!("\n{calls} calls in {seconds:.1} s, {} FAILED.", table::thousands(failed)),
        }
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn state(channel: &LbChannel, key: &str) -> Option<ConnectivityState> {
    channel.endpoints().into_iter().find(|endpoint| endpoint.key.as_str() == key).map(|endpoint| endpoint.state)
}

/// Waits until an endpoint is in this state.
async fn reaches(channel: &LbChannel, key: &str, wanted: ConnectivityState) -> Result<(), Failure> {
    let mut events = channel.subscribe();
    let reached = async {
        while state(channel, key) != Some(wanted) {
            // Any event may be the one; what counts is the state.
            if events.next().await.is_none() {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reached).await;
    in_time.map_err(|_| format!("{key} was not {wanted} within {PATIENCE:?}").into())
}
