//! One client for a while: calls, latencies, CPU.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lb_bench::{Latencies, Sample, cpu_time};

use super::client::Client;

pub(crate) const CALLS: &str = "calls/s";
/// Microseconds of this process per call.
pub(crate) const CPU: &str = "cpu µs";

/// `concurrency` tasks that call one after the other until the time is over.
pub(crate) async fn measure(client: &Client, concurrency: usize, time: Duration) -> Result<Sample, Box<dyn Error>> {
    let payload = Bytes::from_static(&[7; 100]);
    let (cpu, started) = (cpu_time()?, Instant::now());
    let mut tasks = Vec::new();
    for _ in 0..concurrency {
        let (mut client, payload) = (client.clone(), payload.clone());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(4096);
            while started.elapsed() < time {
                let begun = Instant::now();
                client.call(&payload).await?;
                latencies.push(begun.elapsed());
            }
            Ok::<_, tonic::Status>(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let (elapsed, cpu) = (started.elapsed(), cpu_time()? - cpu);
    let calls = latencies.len() as f64;
    let sample = Sample::new().with(CALLS, calls / elapsed.as_secs_f64()).with(CPU, cpu.as_secs_f64() * 1e6 / calls);
    Ok(Latencies::from(latencies).figures(sample))
}

/// `concurrency` tasks with `calls` calls each.
pub(crate) async fn repeat(client: &Client, concurrency: usize, calls: usize) -> Result<(), Box<dyn Error>> {
    let payload = Bytes::from_static(&[7; 100]);
    let mut tasks = Vec::new();
    for _ in 0..concurrency {
        let (mut client, payload) = (client.clone(), payload.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..calls {
                client.call(&payload).await?;
            }
            Ok::<_, tonic::Status>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
