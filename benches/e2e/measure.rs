//! One client for a while: calls, latencies, CPU.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::Client;

/// What one round of one client cost.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) calls_per_second: f64,
    /// Microseconds of this process per call.
    pub(crate) cpu: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

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
    latencies.sort_unstable();
    let calls = latencies.len();
    let quantile = |share: f64| latencies[((calls - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    Ok(Sample {
        calls_per_second: calls as f64 / elapsed.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / calls as f64,
        p50: quantile(0.5),
        p99: quantile(0.99),
    })
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

/// CPU time of all threads of this process, in nanoseconds as the scheduler counts them.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total += schedstat.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}
