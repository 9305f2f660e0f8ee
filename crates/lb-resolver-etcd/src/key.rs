//! The key that holds a service config: read, watch, read again when it has changed.
//!
//! A session of its own beside the one of the endpoints. A change makes it read the key again rather than believe the event, so that
//! what it says is what a majority of the members holds; so does time, which bounds how long data that etcd has lost could be believed.

use std::time::Duration;

use futures_util::stream;
use lb_core::Entropy;
use lb_core::ServiceConfigStream;
use lb_core::ServiceConfigUpdate;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::config::EtcdConfig;
use crate::failure::Cause;
use crate::failure::Failure;
use crate::pace::Pace;
use crate::rpc::Rpc;
use crate::target::Range;
use crate::watch::Watch;

pub(crate) struct KeyStream {
    cluster: Cluster,
    pace: Pace,
    range: Range,
    check_interval: Duration,
    watch: Option<Watch>,
    /// Of the last time it was read.
    revision: i64,
    /// Before the next attempt.
    wait: Option<Instant>,
    said: Option<ServiceConfigUpdate>,
}

impl KeyStream {
    pub(crate) fn new(config: &EtcdConfig, cluster: Cluster, key: &str, entropy: Entropy) -> Self {
        Self {
            pace: Pace::new(config, cluster.len(), entropy),
            cluster,
            range: Range::only(key),
            check_interval: config.check_interval,
            watch: None,
            revision: 0,
            wait: None,
            said: None,
        }
    }

    pub(crate) fn run(self) -> ServiceConfigStream {
        Box::pin(stream::unfold(self, |mut this| async move {
            let config = this.next().await;
            Some((config, this))
        }))
    }

    async fn next(&mut self) -> ServiceConfigUpdate {
        loop {
            let config = match self.step().await {
                Ok(config) => Some(config),
                Err(failure) => self.failed(&failure),
            };
            if let Some(config) = config.filter(|config| self.said.as_ref() != Some(config)) {
                self.said = Some(config.clone());
                return config;
            }
        }
    }

    /// Reads the key: at first, and whenever it may have changed.
    async fn step(&mut self) -> Result<ServiceConfigUpdate, Failure> {
        if let Some(at) = self.wait.take() {
            sleep_until(at).await;
        }
        let Some(watch) = &mut self.watch else {
            let rpc = self.cluster.open().await?;
            return self.begin(&rpc).await;
        };
        let changed = async {
            // Progress is told without a change.
            while watch.next().await?.events.is_empty() {}
            Ok(())
        };
        // Out of time is as good a reason to read.
        timeout(self.check_interval, changed).await.unwrap_or(Ok(()))?;
        let rpc = watch.rpc().clone();
        let before = self.revision;
        let config = self.read(&rpc).await?;
        if self.revision < before {
            // The watch is one of a history that is no more.
            return self.begin(&rpc).await;
        }
        Ok(config)
    }

    /// Reads the key and watches it from there.
    async fn begin(&mut self, rpc: &Rpc) -> Result<ServiceConfigUpdate, Failure> {
        let config = self.read(rpc).await?;
        self.watch = Some(Watch::open(rpc, &self.range, self.revision).await?.0);
        self.pace.established(Instant::now());
        Ok(config)
    }

    async fn read(&mut self, rpc: &Rpc) -> Result<ServiceConfigUpdate, Failure> {
        let answer = rpc.range(self.range.start.clone().into_bytes(), &self.range.end, 1, 0).await?;
        self.revision = answer.header.unwrap_or_default().revision;
        Ok(match answer.kvs.first().map(|pair| std::str::from_utf8(&pair.value)) {
            None => ServiceConfigUpdate::Absent,
            Some(Ok(text)) => text.into(),
            Some(Err(_)) => ServiceConfigUpdate::Broken(format!("the key {:?} in etcd is no text", self.range.start).into()),
        })
    }

    /// It is news only while nothing is known.
    fn failed(&mut self, failure: &Failure) -> Option<ServiceConfigUpdate> {
        self.watch = None;
        if matches!(failure.cause, Cause::Compacted | Cause::Token) {
            self.cluster.stay();
        }
        self.wait = self.pace.after_failure(Instant::now(), failure.cause);
        tracing::debug!(key = self.range.start, error = %failure.message, "the service config cannot be read");
        if self.said.is_some() || self.wait.is_none() {
            return None;
        }
        let reason = format!("the service config cannot be read: key {:?} in etcd: {}", self.range.start, failure.message);
        Some(ServiceConfigUpdate::Broken(reason.into()))
    }
}
