//! The stream of one target: connect, list, watch, say what is new; and again from where it broke.

use lb_core::Entropy;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::pending;
use futures_util::stream;
use lb_core::EndpointKey;
use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tracing::Instrument;
use tracing::Span;

use crate::book::Book;
use crate::book::Lost;
use crate::cluster::Cluster;
use crate::config::EtcdConfig;
use crate::failure::Cause;
use crate::failure::Failure;
use crate::pace::Pace;
use crate::rpc::Rpc;
use crate::set::Limits;
use crate::target::Range;
use crate::voice::Voice;
use crate::watch::Watch;
use crate::wire::WatchResponse;

/// Answers that are there already are taken in together, up to this many, so that a burst of changes is one update.
const AT_ONCE: usize = 256;

/// Between two updates, so that a server that registers a thousand times a second does not keep a core busy with sets.
const BREATH: Duration = Duration::from_millis(10);

/// A watch resumed on another connection is checked by a list this many times sooner than usual: only then could data have been lost and
/// have grown again past our revision without our seeing it.
const CHECK_SOONER: u32 = 10;

/// Owns everything the stream needs, so that dropping the stream drops it all, in the middle of a request too.
pub(crate) struct EtcdStream {
    cluster: Cluster,
    pace: Pace,
    again: ResolveNow,
    min_interval: Duration,
    check_interval: Duration,
    wipe_grace: Duration,
    book: Book,
    voice: Voice,
    span: Span,
    session: Option<Session>,
    /// Why the session must end, once what came before it was told.
    ended: Option<Failure>,
    /// Before the next attempt.
    wait: Option<Instant>,
    /// Whether the next attempt must list although something is known.
    relist: bool,
    /// Whether there may be something to tell.
    fresh: bool,
    /// Nothing is told before.
    breath_ends: Instant,
    hold: Option<Hold>,
}

struct Session {
    watch: Watch,
    listed_at: Instant,
    check_at: Instant,
}

/// After etcd lost its data: what was known stands until it is all there again, or until a time.
struct Hold {
    until: Instant,
    endpoints: HashSet<EndpointKey>,
}

/// Why a session needs attention.
enum Reason {
    Heard(WatchResponse),
    Check,
    Asked,
    Tell,
}

type Item = Result<ResolverUpdate, ResolveError>;

impl EtcdStream {
    pub(crate) fn new(config: &EtcdConfig, cluster: Cluster, range: Range, entropy: Entropy, again: ResolveNow) -> Self {
        Self {
            pace: Pace::new(config, cluster.len(), entropy),
            cluster,
            again,
            min_interval: config.min_interval,
            check_interval: config.check_interval,
            wipe_grace: config.wipe_grace,
            span: tracing::info_span!("etcd_watch", prefix = %range.start),
            book: Book::new(range, Limits::of(config)),
            voice: Voice::default(),
            session: None,
            ended: None,
            wait: None,
            relist: false,
            fresh: false,
            breath_ends: Instant::now(),
            hold: None,
        }
    }

    pub(crate) fn run(self) -> ResolverStream {
        Box::pin(stream::unfold(self, |mut this| {
            let span = this.span.clone();
            async move {
                let item = this.next().await;
                Some((item, this))
            }
            .instrument(span)
        }))
    }

    async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.tell() {
                return item;
            }
            if let Err(failure) = self.step().await
                && let Some(item) = self.failed(failure)
            {
                return item;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.ended.take() {
            return Err(failure);
        }
        if let Some(at) = self.wait.take() {
            sleep_until(at).await;
        }
        let Some(session) = &mut self.session else { return self.connect().await };
        let tell_at = if self.fresh { Some(self.breath_ends) } else { self.hold.as_ref().map(|hold| hold.until) };
        let reason = tokio::select! {
            answer = session.watch.next() => Reason::Heard(answer?),
            () = sleep_until(session.check_at) => Reason::Check,
            () = self.again.fired() => Reason::Asked,
            () = until(tell_at) => Reason::Tell,
        };
        match reason {
            Reason::Heard(answer) => return self.hear(answer),
            Reason::Check => return self.check().await,
            Reason::Asked => session.check_at = session.check_at.min(session.listed_at + self.min_interval),
            Reason::Tell => self.fresh = true,
        }
        Ok(())
    }

    /// Connects to the next member and goes on from where the last watch ended.
    async fn connect(&mut self) -> Result<(), Failure> {
        let rpc = self.cluster.open().await?;
        // Whoever asked before now is answered by what follows.
        let _ = self.again.fired().now_or_never();
        let resumes = !self.book.is_empty() && !self.relist;
        if !resumes {
            self.list(&rpc).await?;
        }
        let (mut watch, header) = Watch::open(&rpc, self.book.range(), self.book.revision()).await?;
        // Behind, or another history? Only a list tells, for which a majority vouches.
        if self.book.doubts(&header) && self.list(&rpc).await? {
            watch = Watch::open(&rpc, self.book.range(), self.book.revision()).await?.0;
        }
        tracing::debug!(member = %rpc.member(), revision = self.book.revision(), resumes, "watching");
        let now = Instant::now();
        let interval = if resumes { self.check_interval / CHECK_SOONER } else { self.check_interval };
        let check_at = now + self.pace.spread(interval);
        self.session = Some(Session { watch, listed_at: now, check_at });
        self.pace.established(now);
        self.fresh = true;
        Ok(())
    }

    /// Takes in an answer and those right behind it.
    fn hear(&mut self, answer: WatchResponse) -> Result<(), Failure> {
        self.fresh |= self.book.apply(answer)?;
        for _ in 1..AT_ONCE {
            let Some(session) = &mut self.session else { break };
            match session.watch.next().now_or_never() {
                None => break,
                Some(Ok(answer)) => self.fresh |= self.book.apply(answer)?,
                Some(Err(failure)) => {
                    self.ended = Some(failure);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Lists on the connection of the watch, which goes on behind it.
    async fn check(&mut self) -> Result<(), Failure> {
        let Some(rpc) = self.session.as_ref().map(|session| session.watch.rpc().clone()) else { return Ok(()) };
        let lost = self.list(&rpc).await?;
        let check_at = Instant::now() + self.pace.spread(self.check_interval);
        if lost {
            // The watch is one of the old history.
            self.session = None;
            self.cluster.stay();
        } else if let Some(session) = &mut self.session {
            (session.listed_at, session.check_at) = (Instant::now(), check_at);
        }
        Ok(())
    }

    /// Lists; true if etcd turns out to have another history.
    async fn list(&mut self, rpc: &Rpc) -> Result<bool, Failure> {
        let lost = self.book.list(rpc).await?;
        (self.relist, self.fresh) = (false, true);
        let Some(Lost { message, endpoints }) = lost else { return Ok(false) };
        tracing::warn!(%message, "the last good set stands for a while");
        let until = Instant::now() + self.wipe_grace;
        // Lost twice in a row: what was known at first stands, and its time goes on.
        self.hold.get_or_insert(Hold { until, endpoints });
        Ok(true)
    }

    /// What is new, if anything.
    fn tell(&mut self) -> Option<Item> {
        let now = Instant::now();
        if !self.fresh || now < self.breath_ends {
            return None;
        }
        (self.fresh, self.breath_ends) = (false, now + BREATH);
        let set = self.book.set()?;
        if let Some(hold) = self.hold.take_if(|hold| now >= hold.until || set.covers(&hold.endpoints)) {
            tracing::debug!(endpoints = hold.endpoints.len(), "the new set takes over");
        }
        if self.hold.is_some() {
            let message = "etcd lost its data; servers are given time to register again";
            return self.voice.failure(Failure::new(Cause::Unavailable, message)).map(Err);
        }
        match set.update(&self.book.range().start) {
            Ok(update) => self.voice.update(update).map(Ok),
            Err(failure) => self.voice.failure(failure).map(Err),
        }
    }

    /// Says so unless it can be mended at once; but first what was heard before it.
    fn failed(&mut self, failure: Failure) -> Option<Item> {
        if self.fresh {
            (self.ended, self.breath_ends) = (Some(failure), Instant::now());
            return None;
        }
        self.session = None;
        self.relist |= matches!(failure.cause, Cause::Compacted | Cause::Malformed | Cause::TooLarge);
        if matches!(failure.cause, Cause::Compacted | Cause::Token) {
            self.cluster.stay();
        }
        self.wait = self.pace.after_failure(Instant::now(), failure.cause);
        tracing::debug!(error = %failure.message, wait = ?self.wait, "watch broke");
        self.wait?;
        self.voice.failure(failure).map(Err)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
