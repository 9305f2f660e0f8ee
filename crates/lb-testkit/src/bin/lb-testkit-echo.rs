//! The echo server as a program: prints its address, does what the lines of its standard input say, and ends with them.

use std::error::Error;
use std::time::Duration;

use lb_testkit::{EchoServer, EchoServerBuilder, Latency};
use tokio::sync::mpsc;
use tonic::Code;

type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut builder = EchoServer::builder();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        builder = configure(builder, &flag, &value)?;
    }
    let mut server = builder.start().await?;
    println!("{}", server.addr());
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        obey(&mut server, &line).await?;
    }
    Ok(())
}

/// The lines of standard input, read by a thread because reading them blocks.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (lines, read) = mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).all(|line| lines.send(line).is_ok()));
    read
}

fn configure(builder: EchoServerBuilder, flag: &str, value: &str) -> Result<EchoServerBuilder, Failure> {
    Ok(match flag {
        "--name" => builder.name(value),
        "--bind" => builder.bind(value.parse()?),
        "--latency-ms" => builder.latency(millis(value)?),
        "--max-concurrent-streams" => builder.max_concurrent_streams(value.parse()?),
        "--ledger" => builder.ledger(value),
        "--health" => builder.health(value.parse()?),
        _ => return Err(format!("unknown flag {flag}").into()),
    })
}

async fn obey(server: &mut EchoServer, line: &str) -> Result<(), Failure> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("latency", value) => server.set_latency(millis(value)?),
        ("fail", code) => server.fail(Code::from_i32(code.parse()?)),
        ("hang", _) => server.hang(),
        ("heal", _) => server.heal(),
        ("goaway", _) => server.goaway(),
        ("shutdown", _) => server.shutdown().await,
        _ => return Err(format!("cannot obey {line:?}").into()),
    }
    Ok(())
}

fn millis(text: &str) -> Result<Latency, Failure> {
    Ok(Latency::Fixed(Duration::from_millis(text.parse()?)))
}
