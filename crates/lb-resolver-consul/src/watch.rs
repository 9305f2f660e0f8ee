//! The stream of one target: ask, wait inside Consul for a change, yield what is new.
//!
//! Invariants: at most one request is under way; after every request that ended there is a pause before the next one, of the least
//! interval after an answer and of the backoff after a failure of all agents; the index is forgotten after every failure, so that the
//! first question to whoever answers next does not block.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream;
use lb_core::Backoff;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tracing::Instrument;

use crate::client::Answer;
use crate::client::Ask;
use crate::client::Client;
use crate::entropy;
use crate::failure::Failure;
use crate::model;
use crate::permission;
use crate::question::Question;
use crate::question::Subject;
use crate::reply;
use crate::setup::Setup;
use crate::state::Complaints;
use crate::state::State;
use lb_core::Entropy;

/// A channel that asks for a fresh look is given one at most this often: Consul tells of changes by itself, so what a fresh look
/// finds is a connection to an agent that is dead without having said so.
const AGAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How much later than the interval a request may come, as a share of it, so that clients that began together drift apart.
const LATENESS: f64 = 0.1;

type Item = Result<ResolverUpdate, ResolveError>;

pub(crate) struct Watch {
    setup: Setup,
    question: Question,
    client: Client,
    /// Which of the agents is asked.
    agent: usize,
    /// How many agents in a row failed.
    failed: usize,
    again: ResolveNow,
    entropy: Entropy,
    backoff: Backoff,
    /// Of the last answer; `None` asks without waiting.
    index: Option<u64>,
    /// No request before this.
    not_before: Instant,
    /// When the last request began.
    asked_at: Instant,
    /// What was last yielded, unless an error was.
    yielded: Option<ResolverUpdate>,
    /// An empty answer was given and is being asked for again.
    confirming: bool,
    /// Whether there ever was a set, and whether the next question may be answered without a leader for want of one.
    resolved: bool,
    leaderless: bool,
    state: State,
    complaints: Complaints,
}

/// How a request ended.
enum Asked {
    Answered(Result<Answer, Failure>),
    /// The channel wants a fresh look.
    Again,
}

impl Watch {
    pub(crate) fn new(setup: &Setup, question: Question, again: ResolveNow) -> Self {
        let mut entropy = entropy::seeded(setup.config().seed);
        // Where there are several agents, clients spread over them.
        let agent = (entropy.draw() % question.agents.len() as u64) as usize;
        Self {
            client: Client::new(setup.clone(), question.agents[agent].clone()),
            setup: setup.clone(),
            agent,
            failed: 0,
            again,
            entropy,
            backoff: Backoff::new(setup.config().backoff),
            index: None,
            not_before: Instant::now(),
            asked_at: Instant::now(),
            yielded: None,
            confirming: false,
            resolved: false,
            leaderless: false,
            state: State::default(),
            complaints: Complaints::default(),
            question,
        }
    }

    pub(crate) fn run(self, target: &Target) -> ResolverStream {
        let span = tracing::info_span!("consul_watch", target = %target);
        Box::pin(stream::unfold((self, span), |(mut this, span)| async move {
            let item = this.next().instrument(span.clone()).await;
            Some((item, (this, span)))
        }))
    }

    async fn next(&mut self) -> Item {
        loop {
            self.pause().await;
            let item = match self.ask().await {
                Asked::Answered(Ok(answer)) => self.answered(&answer).await,
                Asked::Answered(Err(failure)) => self.failed(failure),
                Asked::Again => {
                    // The waiting connection is what is doubted.
                    self.client.disconnect();
                    self.index = None;
                    None
                }
            };
            if let Some(item) = item {
                return item;
            }
        }
    }

    /// Polls of prepared queries end early if the channel asks; the pause after a failure and the least interval do not.
    async fn pause(&mut self) {
        let polled = matches!(self.question.subject, Subject::Prepared(_)) && self.state.is_answered();
        let earliest = self.not_before;
        if !polled {
            return sleep_until(earliest).await;
        }
        let unasked = earliest + self.late(self.setup.config().poll_interval);
        let asked = earliest.max(self.asked_at + AGAIN_INTERVAL).min(unasked);
        let again = &mut self.again;
        tokio::select! {
            () = sleep_until(unasked) => {}
            () = async { again.fired().await; sleep_until(asked).await } => {}
        }
    }

    async fn ask(&mut self) -> Asked {
        // Whoever asked before the request began is answered by it.
        let _ = self.again.fired().now_or_never();
        self.asked_at = Instant::now();
        let waits = self.index.filter(|_| matches!(self.question.subject, Subject::Service(_)));
        let mut ask = Ask::get(self.question.path(waits, self.question.stale || self.leaderless));
        let Some(_) = waits else { return Asked::Answered(self.client.ask(&ask).await) };
        ask.wait = self.question.wait;
        let (client, again, doubted) = (&mut self.client, &mut self.again, self.asked_at + AGAIN_INTERVAL);
        tokio::select! {
            biased;
            outcome = client.ask(&ask) => Asked::Answered(outcome),
            () = async { again.fired().await; sleep_until(doubted).await } => Asked::Again,
        }
    }

    async fn answered(&mut self, answer: &Answer) -> Option<Item> {
        let entries = match self.question.subject {
            Subject::Service(_) => model::entries(&answer.body),
            Subject::Prepared(_) => model::prepared(&answer.body),
        };
        let converted = match entries {
            Ok(entries) => self.question.reading.convert(entries),
            Err(error) => return self.failed(Failure::Unreadable(error.to_string())),
        };
        if converted.entries == 0 && reply::leaderless(&answer.headers) {
            return self.failed(Failure::Leaderless);
        }
        if converted.entries == 0 {
            // Only when it is news: the answer does not change what a token may see.
            let news = !matches!(self.state, State::Absent);
            if let Some(hidden) = if news { self.hidden(answer).await } else { None } {
                return self.failed(hidden);
            }
        } else if converted.unusable == converted.entries {
            return self.failed(Failure::Unreadable(converted.complaints.join("; ")));
        }
        self.succeeded(answer);
        self.complaints.tell(&converted.complaints);
        if converted.entries == 0 {
            return self.absent();
        }
        self.confirming = false;
        self.resolved = true;
        let mut note = Vec::new();
        if reply::leaderless(&answer.headers) {
            note.push("Consul has no leader, this may be old".to_owned());
        }
        if reply::filtered(&answer.headers) {
            note.push("the token may not read all of it".to_owned());
        }
        if converted.endpoints.is_empty() {
            note.push(format!("{}: none of {} passes its checks in Consul", self.question.name(), converted.failing));
        }
        self.state.turn(State::Known, &format!("{} endpoints", converted.endpoints.len()));
        self.update(converted.endpoints, &note.join("; "))
    }

    /// Yields a set if it is new.
    fn update(&mut self, endpoints: Vec<Endpoint>, note: &str) -> Option<Item> {
        let mut update = ResolverUpdate::new(endpoints);
        if !note.is_empty() {
            update = update.with_note(note);
        }
        if self.yielded.as_ref() == Some(&update) {
            return None;
        }
        tracing::debug!(endpoints = update.endpoints.len(), "the set changed");
        self.yielded = Some(update.clone());
        Some(Ok(update))
    }

    /// Consul knows nothing of the service, and may say so. Once told it is not told again.
    fn absent(&mut self) -> Option<Item> {
        let config = self.setup.config();
        if config.clear_when_empty && self.resolved && !self.confirming {
            // Consul has been seen to answer so for a moment, after a restart: asked again, without waiting.
            self.confirming = true;
            self.index = None;
            return None;
        }
        let what = format!("{} is not registered, or nothing of it fits the target", self.question.name());
        let news = !matches!(self.state, State::Absent);
        self.state.turn(State::Absent, &what);
        if config.clear_when_empty {
            return self.update(Vec::new(), &what);
        }
        self.yielded = None;
        news.then(|| {
            Err(Failure::Absent(format!("knows nothing of it: {what}"))
                .told(&self.client.agent().to_string(), &self.question.name()))
        })
    }

    /// Why an empty answer is no answer, if it is none.
    async fn hidden(&mut self, answer: &Answer) -> Option<Failure> {
        if reply::filtered(&answer.headers) {
            return Some(Failure::Hidden("all of it", ""));
        }
        let Subject::Service(service) = &self.question.subject else { return None };
        let what = permission::denied(&mut self.client, service).await?;
        let anonymous = self.setup.token().await.is_ok_and(|token| token.is_none());
        Some(Failure::Hidden(what, if anonymous { "; there is no token" } else { "" }))
    }

    fn succeeded(&mut self, answer: &Answer) {
        self.failed = 0;
        self.leaderless = false;
        self.backoff.reset();
        self.index = reply::next_index(self.index, &answer.headers);
        // The interval counts from the question: an answer that was waited for is followed at once.
        self.not_before = self.asked_at + self.late(self.setup.config().min_interval);
    }

    /// The next agent is asked at once; after the last one there is a pause. The first break after an answer is no news: agents and
    /// what stands before them close connections that wait for long.
    fn failed(&mut self, failure: Failure) -> Option<Item> {
        let agent = self.client.agent().to_string();
        let interrupted = self.index.take().is_some() && failure.is_broken();
        self.failed += 1;
        if self.question.agents.len() > 1 {
            self.agent = (self.agent + 1) % self.question.agents.len();
            self.client = Client::new(self.setup.clone(), self.question.agents[self.agent].clone());
        }
        if !self.failed.is_multiple_of(self.question.agents.len()) {
            tracing::debug!(agent, %failure, "asking the next agent");
            return None;
        }
        // A set without a leader's word is better than none.
        self.leaderless = failure.is_server_error() && !self.resolved && !self.leaderless;
        let now = Instant::now();
        self.not_before = self.backoff.begin(now.into_std(), self.entropy.draw()).retry_at.into();
        if interrupted {
            return None;
        }
        self.yielded = None;
        let error = failure.told(&agent, &self.question.name());
        self.state.turn(State::Failing(error.kind()), error.message());
        Some(Err(error))
    }

    fn late(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(1.0 + LATENESS * self.entropy.fraction())
    }
}
