//! The task behind a registration.

use std::sync::Arc;
use std::time::Duration;

use lb_core::Endpoint;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use super::RegistrationState;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::pace::Pace;
use crate::rpc::Rpc;
use crate::value;
use crate::value::EtcdFormat;

/// So that two keepalives may be lost before the lease is.
const KEEPALIVES_PER_TTL: u32 = 3;

pub(super) struct Task {
    cluster: Cluster,
    pace: Pace,
    key: Arc<str>,
    ttl: Duration,
    format: EtcdFormat,
    endpoints: watch::Receiver<Endpoint>,
    states: watch::Sender<RegistrationState>,
    /// Outlives the connection it was made on.
    lease: Option<i64>,
    /// Whether the key is written under that lease.
    written: bool,
    rpc: Option<Rpc>,
}

impl Task {
    pub(super) fn new(
        cluster: Cluster,
        pace: Pace,
        key: Arc<str>,
        ttl: Duration,
        format: EtcdFormat,
        endpoints: watch::Receiver<Endpoint>,
        states: watch::Sender<RegistrationState>,
    ) -> Self {
        Self { cluster, pace, key, ttl, format, endpoints, states, lease: None, written: false, rpc: None }
    }

    /// Runs until it is told to stop or the handle is gone.
    pub(super) async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            _ = stopped => {}
            () = self.stay() => {}
        }
        if self.leave().await {
            self.say(RegistrationState::Ended);
        }
    }

    /// Registers and stays registered. Never ends.
    async fn stay(&mut self) {
        loop {
            let Err(failure) = self.serve().await;
            self.rpc = None;
            let wait = self.pace.after_failure(Instant::now(), failure.cause);
            tracing::debug!(key = %self.key, error = %failure.message, ?wait, "registration interrupted");
            if let Some(at) = wait {
                self.say(RegistrationState::Failing(failure.message));
                sleep_until(at).await;
            }
        }
    }

    /// One connection's worth of being registered.
    async fn serve(&mut self) -> Result<std::convert::Infallible, Failure> {
        let rpc = self.cluster.open().await?;
        self.rpc = Some(rpc.clone());
        loop {
            self.keep(&rpc).await?;
            self.pace.established(Instant::now());
            self.say(RegistrationState::Registered);
            tokio::select! {
                () = sleep(self.ttl / KEEPALIVES_PER_TTL) => {}
                Ok(()) = self.endpoints.changed() => self.written = false,
            }
        }
    }

    /// Makes sure that there is a lease and the key under it.
    async fn keep(&mut self, rpc: &Rpc) -> Result<(), Failure> {
        if let Some(lease) = self.lease
            && !rpc.keep_alive(lease).await?
        {
            tracing::warn!(key = %self.key, "the lease is gone; registering again");
            self.lease = None;
        }
        let lease = match self.lease {
            Some(lease) => lease,
            None => {
                self.written = false;
                *self.lease.insert(rpc.grant(self.ttl).await?)
            }
        };
        if !self.written {
            let value = value::format(&self.endpoints.borrow_and_update(), self.format);
            rpc.put(&self.key, value, lease).await?;
            self.written = true;
        }
        Ok(())
    }

    /// Ends the lease, and the key with it. Every member is asked once, each bounded by the timeouts.
    async fn leave(&mut self) -> bool {
        let Some(lease) = self.lease else { return true };
        if let Some(rpc) = self.rpc.take()
            && revoked(&rpc, lease).await
        {
            return true;
        }
        for _ in 0..self.cluster.len() {
            if let Ok(rpc) = self.cluster.open().await
                && revoked(&rpc, lease).await
            {
                return true;
            }
        }
        tracing::warn!(key = %self.key, ttl = ?self.ttl, "etcd cannot be told that this server ends; its key goes with its lease");
        false
    }

    fn say(&self, state: RegistrationState) {
        self.states.send_if_modified(|said| {
            let news = *said != state;
            if news {
                tracing::info!(key = %self.key, %state, "registration");
                *said = state;
            }
            news
        });
    }
}

/// Whether the lease is gone, by our doing or another's.
async fn revoked(rpc: &Rpc, lease: i64) -> bool {
    match rpc.revoke(lease).await {
        Ok(()) => true,
        Err(failure) => failure.message.contains("requested lease not found"),
    }
}
