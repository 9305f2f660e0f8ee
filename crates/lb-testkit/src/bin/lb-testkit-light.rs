//! The light server as a program: prints its addresses, one per line, and runs until its standard input ends.

use std::error::Error;
use std::io::{self, Read};

use lb_testkit::LightServer;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut ports, mut threads) = (1, 1);
    let mut args = std::env::args().skip(1);
    while let (Some(flag), value) = (args.next(), args.next()) {
        let value = value.ok_or_else(|| format!("{flag} needs a number"))?.parse()?;
        match flag.as_str() {
            "--ports" => ports = value,
            "--threads" => threads = value,
            _ => return Err(format!("unknown flag {flag}; allowed are --ports N and --threads N").into()),
        }
    }
    let server = LightServer::start(ports, threads)?;
    for addr in server.addrs() {
        println!("{addr}");
    }
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
