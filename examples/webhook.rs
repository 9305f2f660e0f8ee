//! Another program is told of what happens in a channel: a deployment manager, an autoscaler, a chat. It gets signed messages by HTTP and
//! checks that they are genuine. Here it runs in the same process, and refuses the first message to show that it comes again.
//! Run it with `cargo run --example webhook --features hooks`.

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel::hooks::{HttpBackend, Signer, Webhook, WebhookConfig};
use evenkeel::{BackoffConfig, LbChannel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use support::{Failure, PATIENCE, key, servers, serves, target, until};

/// `whsec_` and base64 of 24 to 64 random bytes; a program reads it from where its secrets are.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request at a time, as small as it can be: answers 503 once, and then takes what is genuine.
async fn receive(listener: TcpListener, signer: Signer, taken: mpsc::UnboundedSender<String>) -> Result<(), std::io::Error> {
    let mut first = true;
    let (mut stream, _) = listener.accept().await?;
    while let Some((head, body)) = request(&mut stream).await? {
        let header = |name: &str| {
            let found = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_default().to_owned()
        };
        let (id, signature) = (header("webhook-id"), header("webhook-signature"));
        let timestamp = header("webhook-timestamp").parse().unwrap_or(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let genuine = signer.verify(&id, timestamp, &signature, body.as_bytes(), now, Duration::from_secs(300));
        let status = match genuine {
            Err(error) => {
                println!("refused: {error}");
                "401 Unauthorized"
            }
            Ok(()) if first => "503 Service Unavailable",
            Ok(()) => "200 OK",
        };
        println!("{id} answered with {status}");
        if status.starts_with("200") {
            let _ = taken.send(body);
        }
        first = false;
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
        if !status.starts_with("200") {
            // Whoever was refused comes back on another connection.
            stream = listener.accept().await?.0;
        }
    }
    Ok(())
}

/// Head and body of a request; `None` at the end of the connection. A program would use its HTTP server.
async fn request(stream: &mut TcpStream) -> Result<Option<(String, String)>, std::io::Error> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Ok(Some((head.to_owned(), body.to_owned())));
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await? {
            0 => return Ok(None),
            read => text.push_str(&String::from_utf8_lossy(&piece[..read])),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/events", listener.local_addr()?);
    let signer = Signer::new([SECRET])?;
    let (taken, mut received) = mpsc::unbounded_channel();
    let receiving = tokio::spawn(receive(listener, signer.clone(), taken));

    let config = WebhookConfig::new(HttpBackend::new(&url)?, signer)
        .kinds(["drained", "scaling_advised", "promoted", "demoted"])?
        .backoff(BackoffConfig::default().with_initial(Duration::from_millis(50))?);
    let webhook = Webhook::start(config)?;

    let servers = servers(2).await?;
    let channel = LbChannel::builder(target(&servers)).observer(webhook.observer("orders")).build()?;
    channel.exit_idle();
    let s0 = key(&servers[0]);
    until(&channel, "s0 serves", |endpoints| serves(endpoints, &s0)).await?;
    channel.drain(s0.clone());
    until(&channel, "s0 is drained", |endpoints| !serves(endpoints, &s0)).await?;

    let body = tokio::time::timeout(PATIENCE, received.recv()).await?.ok_or("nothing was received")?;
    println!("{body}");
    assert!(body.contains(r#""kind":"drained""#) && body.contains(&s0.to_string()));
    webhook.flush().await;
    println!("{:?}", webhook.stats());

    // With the channel and the last handle the webhook ends, and closes its connection.
    drop((channel, webhook));
    tokio::time::timeout(PATIENCE, receiving).await???;
    Ok(())
}
