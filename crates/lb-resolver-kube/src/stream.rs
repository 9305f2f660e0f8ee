//! The stream of one target: list, watch, yield what is new, and begin again when something breaks.

use std::mem;
use std::time::Duration;

use futures_util::stream;
use lb_core::{ResolveError, ResolveErrorKind, ResolveNow, ResolverStream, ResolverUpdate};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::access;
use crate::api::{Api, Selection};
use crate::config::KubernetesConfig;
use crate::entropy;
use crate::failure::Failure;
use crate::known::Known;
use crate::merge::{Merge, Merged};
use crate::nodes::{self, Nodes};
use crate::pace::Pace;
use crate::target::Subject;
use crate::traits::Traits;
use crate::watch::{Change, Watch};

/// A watch that ends sooner was never served; resuming it without a pause would be a busy loop.
const SHORTEST_WATCH: Duration = Duration::from_millis(500);

/// A watch that lived so long proves that things work, as does one that ended as it should.
pub(crate) const PROOF: Duration = Duration::from_secs(5);

/// Who asks for a fresh look gets a new watch if the present one has been silent for so long.
const SILENCE: Duration = Duration::from_secs(5);

/// So many failures in a row are reason to read the configuration again.
pub(crate) const FAILURES_TO_RENEW: u32 = 8;

/// More complaints about slices than these are not logged.
const COMPLAINTS: usize = 10;

/// Owns everything the stream needs, so that dropping the stream drops it all, in the middle of a request too.
pub(crate) struct KubernetesStream {
    config: KubernetesConfig,
    subject: Subject,
    target: String,
    merge: Merge,
    pace: Pace,
    again: ResolveNow,
    phase: Phase,
    trust: Trust,
    /// A failure may be repaired without a word; once, until something proved to work again.
    quiet: bool,
    /// Made anew after a refusal and some failures in a row, because address or credentials may have changed.
    api: Option<Api>,
    /// In a row.
    failures: u32,
    nodes: Nodes,
    known: Option<Known>,
    /// When what is known was last known to be true.
    heard: Instant,
    /// Something may be new.
    dirty: bool,
    last: Option<Outcome>,
    /// An error was yielded after that.
    erred: bool,
    complaints: Vec<String>,
}

/// What to do next.
enum Phase {
    Wait(Instant),
    List,
    Open(String),
    Watch(Box<Watch>),
    Break(Failure),
}

/// Whether what is known can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing is known yet.
    None,
    /// A watch is open.
    Fresh,
    /// The watch broke just now; nobody was told yet.
    Repairing,
    /// An error was yielded.
    Stale,
}

/// What was last yielded.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Set(ResolverUpdate),
    /// The server says there is nothing of the kind.
    Absent(String),
}

impl KubernetesStream {
    pub(crate) fn new(config: KubernetesConfig, subject: Subject, target: &str, again: ResolveNow) -> Self {
        let mut entropy = entropy::seeded(config.seed);
        let merge = Merge {
            port: subject.port.clone(),
            traits: Traits::new(&config.prefix),
            terminating_fallback: config.terminating_fallback,
            seed: entropy.draw(),
        };
        let pace = Pace::new(&config, entropy);
        Self {
            config,
            subject,
            target: target.to_owned(),
            merge,
            pace,
            again,
            phase: Phase::List,
            trust: Trust::None,
            quiet: true,
            api: None,
            failures: 0,
            nodes: Nodes::default(),
            known: None,
            heard: Instant::now(),
            dirty: false,
            last: None,
            erred: false,
            complaints: Vec::new(),
        }
    }

    pub(crate) fn run(self) -> ResolverStream {
        let span = info_span!("kubernetes", target = %self.target);
        Box::pin(stream::unfold(self, move |mut this| {
            let next = async move {
                let item = this.next().await;
                Some((item, this))
            };
            next.instrument(span.clone())
        }))
    }

    async fn next(&mut self) -> Result<ResolverUpdate, ResolveError> {
        loop {
            let told = match self.step().await {
                Ok(()) => {
                    self.learn().await;
                    self.news()
                }
                Err(failure) => self.failed(failure).map(Err),
            };
            if let Some(item) = told {
                return item;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        match mem::replace(&mut self.phase, Phase::List) {
            Phase::Wait(at) => {
                sleep_until(at).await;
                Ok(())
            }
            Phase::List => self.list().await,
            Phase::Open(version) => self.open(&version).await,
            Phase::Watch(watch) => self.follow(watch).await,
            Phase::Break(failure) => Err(failure),
        }
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let api = match self.api.take() {
            Some(api) => api,
            None => {
                self.nodes.forget_failures();
                connect(&self.config, &self.subject).await?
            }
        };
        let listed = api.list().await;
        self.api = Some(api);
        let (known, version) = listed?;
        self.known = Some(known);
        self.heard = Instant::now();
        self.dirty = true;
        self.phase = Phase::Open(version);
        Ok(())
    }

    async fn open(&mut self, version: &str) -> Result<(), Failure> {
        let Some(api) = &self.api else { return Ok(()) };
        let seconds = self.pace.watch_seconds(self.config.watch_timeout);
        let watch = api.watch(version, seconds).await?;
        self.heard = Instant::now();
        self.phase = Phase::Watch(Box::new(watch));
        if matches!(self.trust, Trust::None | Trust::Stale) {
            let slices = self.known.as_ref().map_or(0, |known| known.slices().count());
            info!(slices, "watching the service's endpoint slices");
        }
        if mem::take(&mut self.erred) {
            // That the error ended is news too.
            (self.last, self.dirty) = (None, true);
        }
        self.trust = Trust::Fresh;
        Ok(())
    }

    /// Until something changed and has settled, or the watch ends in whatever way.
    async fn follow(&mut self, mut watch: Box<Watch>) -> Result<(), Failure> {
        let mut settled: Option<Instant> = None;
        let ended = loop {
            tokio::select! {
                biased;
                () = sleep_until(settled.unwrap_or(watch.began)), if settled.is_some() => {
                    self.phase = Phase::Watch(watch);
                    return Ok(());
                }
                change = watch.next() => match change.and_then(|change| self.apply(change)) {
                    Ok(true) => settled = settled.or_else(|| Some(Instant::now() + self.config.settle)),
                    Ok(false) => {
                        watch.heard = Instant::now();
                        break Ok(());
                    }
                    Err(failure) => break Err(failure),
                },
                () = self.again.fired(), if settled.is_none() => if watch.heard.elapsed() >= SILENCE {
                    break Ok(());
                },
            }
        };
        self.heard = watch.heard;
        let ended = ended.and_then(|()| lived(&watch));
        if ended.is_ok() || watch.began.elapsed() >= PROOF {
            self.pace.succeeded();
            (self.quiet, self.failures) = (true, 0);
        }
        self.phase = match ended {
            Ok(()) => Phase::Open(watch.version),
            // What changed before it broke is told first.
            Err(failure) => Phase::Break(failure),
        };
        Ok(())
    }

    async fn learn(&mut self) {
        if let (true, Some(api), Some(known)) = (self.dirty && self.config.node_topology, &self.api, &self.known) {
            self.nodes.learn(api, nodes::mentioned(known.slices()), self.config.timeout).await;
        }
    }

    /// Whether the watch goes on.
    fn apply(&mut self, change: Option<Change>) -> Result<bool, Failure> {
        let (Some(change), Some(known)) = (change, &mut self.known) else { return Ok(false) };
        match change {
            Change::Put(slice, bytes) => known.put(slice, bytes)?,
            Change::Removed(name) => known.remove(&name),
        }
        self.dirty = true;
        Ok(true)
    }

    fn failed(&mut self, failure: Failure) -> Option<ResolveError> {
        let now = Instant::now();
        self.phase = Phase::Wait(self.pace.after(&failure, now));
        self.failures += 1;
        if failure.kind == ResolveErrorKind::Refused || self.failures.is_multiple_of(FAILURES_TO_RENEW) {
            self.api = None;
        }
        let repairable = self.trust == Trust::Fresh || (failure.gone && self.trust == Trust::None);
        if repairable && mem::take(&mut self.quiet) {
            debug!(failure = failure.message, "listing anew");
            self.trust = Trust::Repairing;
            return None;
        }
        let age = self.known.as_ref().map(|_| now - self.heard);
        let error = failure.into_error(age);
        if self.trust == Trust::Stale {
            debug!(%error, "still without an answer");
        } else {
            warn!(%error, "endpoints may be out of date");
        }
        self.trust = Trust::Stale;
        self.erred = true;
        Some(error)
    }

    fn news(&mut self) -> Option<Result<ResolverUpdate, ResolveError>> {
        let known = self.known.as_ref().filter(|_| mem::take(&mut self.dirty))?;
        let outcome = match known.is_empty() {
            true => Outcome::Absent(self.absent()),
            false => {
                let merged = self.merge.merge(known.slices(), &self.nodes);
                self.complain(&merged);
                self.outcome(merged)
            }
        };
        if self.last.as_ref() == Some(&outcome) {
            return None;
        }
        self.last = Some(outcome.clone());
        self.erred = false;
        Some(match outcome {
            Outcome::Set(update) => Ok(update),
            Outcome::Absent(message) => Err(ResolveError::new(ResolveErrorKind::NotFound, message)),
        })
    }

    fn outcome(&self, merged: Merged) -> Outcome {
        if let Some(reason) = merged.no_port {
            return Outcome::Absent(format!("service {}: {reason}", self.subject.service));
        }
        let update = ResolverUpdate::new(merged.endpoints);
        Outcome::Set(match merged.note {
            Some(note) => update.with_note(note),
            None => update,
        })
    }

    fn absent(&self) -> String {
        let namespace = self.api.as_ref().map_or("", Api::namespace);
        format!("there is no EndpointSlice of service {} in namespace {namespace}: does the service exist?", self.subject.service)
    }

    fn complain(&mut self, merged: &Merged) {
        if self.complaints == merged.complaints {
            return;
        }
        for complaint in merged.complaints.iter().take(COMPLAINTS) {
            warn!("{complaint}");
        }
        self.complaints.clone_from(&merged.complaints);
    }
}

async fn connect(config: &KubernetesConfig, subject: &Subject) -> Result<Api, Failure> {
    let client = access::open(config.cluster.clone(), config.timeout).await?;
    let namespace = access::namespace(&client, subject.namespace.as_ref(), config)?;
    Ok(Api::new(client, Selection::slices(namespace, &subject.service), config.timeout, config.max_answer))
}

pub(crate) fn lived(watch: &Watch) -> Result<(), Failure> {
    if watch.began.elapsed() >= SHORTEST_WATCH {
        return Ok(());
    }
    Err(Failure::unavailable("the watch ended as soon as it began"))
}
