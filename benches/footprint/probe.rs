//! A client in a process of its own, measured from within: whatever another client left behind is not its own.

use std::error::Error;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lb_testkit::count;
use serde_json::{Value, json};

use super::client::{Client, Kind};
use super::servers::Servers;

/// The argument that makes this program a client that is measured; what it does comes in JSON on its input.
pub(crate) const PROBE: &str = "--probe";

/// Calls to each endpoint before it counts as active, so many at once, of so many bytes.
const CALLS: usize = 50;
const AT_ONCE: usize = 8;
const PAYLOAD: usize = 1000;

/// What still moves after connecting or calling has come to rest by then.
const REST: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) resident: f64,
    pub(crate) heap: f64,
    pub(crate) tasks: f64,
    pub(crate) sockets: f64,
}

impl Held {
    fn now() -> Result<Self, Failure> {
        let [resident, heap] = [count::resident_bytes()?, count::heap_bytes()].map(|bytes| bytes as f64);
        let [tasks, sockets] = [count::tasks(), count::sockets()?].map(|number| number as f64);
        Ok(Self { resident, heap, tasks, sockets })
    }

    fn since(self, before: Self) -> Self {
        Self {
            resident: self.resident - before.resident,
            heap: self.heap - before.heap,
            tasks: self.tasks - before.tasks,
            sockets: self.sockets - before.sockets,
        }
    }

    fn json(self) -> Value {
        json!([self.resident, self.heap, self.tasks, self.sockets])
    }

    fn from_json(value: &Value) -> Option<Self> {
        let number = |index: usize| value[index].as_f64();
        Some(Self { resident: number(0)?, heap: number(1)?, tasks: number(2)?, sockets: number(3)? })
    }
}

/// One measurement: what the channel holds, connected and never called, and after calls; and how long it took to connect to all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probed {
    pub(crate) idle: Held,
    pub(crate) active: Held,
    pub(crate) connected: Duration,
    /// From building the channel to the first reply.
    pub(crate) first: Duration,
}

/// Runs a client in a process of its own.
pub(crate) fn run(kind: Kind, servers: &Servers) -> Result<Probed, Failure> {
    let order = json!({ "kind": kind.name(), "addresses": servers.addresses, "ca": servers.ca });
    let answer: Value = serde_json::from_str(&said(PROBE, &order)?)?;
    let seconds = |name: &str| answer[name].as_f64().map(Duration::from_secs_f64);
    let probed = (Held::from_json(&answer["idle"]), Held::from_json(&answer["active"]), seconds("connected"), seconds("first"));
    let (Some(idle), Some(active), Some(connected), Some(first)) = probed else {
        return Err("a probe's answer lacks figures".into());
    };
    Ok(Probed { idle, active, connected, first })
}

/// What this program says in a mode, given this.
pub(crate) fn said(mode: &str, order: &Value) -> Result<String, Failure> {
    let mut child = Command::new(std::env::current_exe()?).arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("a child without input")?;
    input.write_all(order.to_string().as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(format!("{mode}: {}", output.status).into()) }
}

/// What was ordered: the kind, the addresses, the authority.
pub(crate) fn order() -> Result<(Kind, Vec<String>, Option<String>), Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Value = serde_json::from_str(&text)?;
    let kind = order["kind"].as_str().and_then(Kind::named).ok_or("no kind of client")?;
    let addresses = order["addresses"].as_array().ok_or("no addresses")?;
    let addresses = addresses.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok((kind, addresses, order["ca"].as_str().map(str::to_owned)))
}

/// In the client's process.
pub(crate) fn probe() -> Result<(), Failure> {
    let (kind, addresses, ca) = order()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let payload = Bytes::from(vec![7; PAYLOAD]);
        tokio::time::sleep(REST).await;
        let (before, begun) = (Held::now()?, Instant::now());
        let client = Client::build(kind, &addresses, ca.as_deref())?;
        client.call(&payload).await?;
        let first = begun.elapsed();
        let endpoints = kind.connections(addresses.len());
        connected(&client, &payload, before.sockets as usize, endpoints).await?;
        let all = begun.elapsed();
        tokio::time::sleep(REST).await;
        let idle = Held::now()?.since(before);
        work(&client, endpoints, &payload).await?;
        tokio::time::sleep(REST).await;
        let active = Held::now()?.since(before);
        let answer = json!({
            "idle": idle.json(),
            "active": active.json(),
            "connected": all.as_secs_f64(),
            "first": first.as_secs_f64(),
        });
        println!("{answer}");
        Ok(())
    })
}

/// Until there are so many more sockets, and ready where that can be asked. tonic's balancer looks at its endpoints only while it is called.
async fn connected(client: &Client, payload: &Bytes, before: usize, endpoints: usize) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let sockets = count::sockets()?.saturating_sub(before);
        if sockets >= endpoints && client.ready().is_none_or(|ready| ready >= endpoints) {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{sockets} of {endpoints} sockets after {PATIENCE:?}").into());
        }
        if client.ready().is_none() {
            client.call(payload).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Its sockets are there, its handshakes go on only while it is called.
    for _ in 0..if client.ready().is_none() { 10 } else { 0 } {
        client.call(payload).await?;
        tokio::time::sleep(REST / 10).await;
    }
    Ok(())
}

async fn work(client: &Client, endpoints: usize, payload: &Bytes) -> Result<(), Failure> {
    let calls = CALLS * client.calls_for(endpoints) / AT_ONCE + 1;
    let tasks = (0..AT_ONCE).map(|_| {
        let (client, payload) = (client.clone(), payload.clone());
        tokio::spawn(async move {
            for _ in 0..calls {
                client.call(&payload).await?;
            }
            Ok::<_, tonic::Status>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}
