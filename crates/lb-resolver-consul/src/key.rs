//! The key that holds a service config: ask, wait inside Consul for a change, yield what is new.
//!
//! A watch of its own, on a connection of its own, so that neither waits for the other. It asks as the watch of the endpoints does: a pause
//! of the least interval after each answer and of the backoff after a failure of all agents.

use futures_util::stream;
use lb_core::Backoff;
use lb_core::Entropy;
use lb_core::ServiceConfigStream;
use lb_core::ServiceConfigUpdate;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::client::Answer;
use crate::client::Ask;
use crate::client::Client;
use crate::entropy;
use crate::failure::Failure;
use crate::question::Question;
use crate::reply;
use crate::setup::Setup;

pub(crate) struct KeyWatch {
    setup: Setup,
    question: Question,
    key: String,
    client: Client,
    agent: usize,
    /// How many agents in a row failed.
    failed: usize,
    entropy: Entropy,
    backoff: Backoff,
    /// Of the last answer; `None` asks without waiting.
    index: Option<u64>,
    not_before: Instant,
    said: Option<ServiceConfigUpdate>,
}

impl KeyWatch {
    /// A watch of the key the question names; `None` if it names none.
    pub(crate) fn new(setup: &Setup, question: &Question) -> Option<Self> {
        let key = question.config_key()?.to_owned();
        let mut entropy = entropy::seeded(setup.config().seed);
        let agent = (entropy.draw() % question.agents.len() as u64) as usize;
        Some(Self {
            client: Client::new(setup.clone(), question.agents[agent].clone()),
            setup: setup.clone(),
            question: question.clone(),
            key,
            agent,
            failed: 0,
            entropy,
            backoff: Backoff::new(setup.config().backoff),
            index: None,
            not_before: Instant::now(),
            said: None,
        })
    }

    pub(crate) fn run(self) -> ServiceConfigStream {
        Box::pin(stream::unfold(self, |mut this| async move {
            let config = this.next().await;
            Some((config, this))
        }))
    }

    async fn next(&mut self) -> ServiceConfigUpdate {
        loop {
            sleep_until(self.not_before).await;
            let mut ask = Ask::get(self.question.key_path(&self.key, self.index));
            ask.may_be_missing = true;
            if self.index.is_some() {
                ask.wait = self.question.wait;
            }
            let asked_at = Instant::now();
            let config = match self.client.ask(&ask).await {
                Ok(answer) => Some(self.answered(&answer, asked_at)),
                Err(failure) => self.failed(&failure),
            };
            if let Some(config) = config.filter(|config| self.said.as_ref() != Some(config)) {
                self.said = Some(config.clone());
                return config;
            }
        }
    }

    fn answered(&mut self, answer: &Answer, asked_at: Instant) -> ServiceConfigUpdate {
        self.failed = 0;
        self.backoff.reset();
        self.index = reply::next_index(self.index, &answer.headers);
        self.not_before = asked_at + self.setup.config().min_interval;
        if answer.missing {
            return ServiceConfigUpdate::Absent;
        }
        match std::str::from_utf8(&answer.body) {
            Ok(text) => text.into(),
            Err(_) => ServiceConfigUpdate::Broken(format!("the key {:?} in Consul is no text", self.key).into()),
        }
    }

    /// The next agent is asked at once; after the last one there is a pause. It is news only while nothing is known.
    fn failed(&mut self, failure: &Failure) -> Option<ServiceConfigUpdate> {
        let agent = self.client.agent().to_string();
        self.index = None;
        self.failed += 1;
        if self.question.agents.len() > 1 {
            self.agent = (self.agent + 1) % self.question.agents.len();
            self.client = Client::new(self.setup.clone(), self.question.agents[self.agent].clone());
        }
        if !self.failed.is_multiple_of(self.question.agents.len()) {
            return None;
        }
        self.not_before = self.backoff.begin(Instant::now().into_std(), self.entropy.draw()).retry_at.into();
        tracing::debug!(agent, key = self.key, %failure, "the service config cannot be read");
        let reason = format!("the service config cannot be read: key {:?}: Consul at {agent} {failure}", self.key);
        self.said.is_none().then(|| ServiceConfigUpdate::Broken(reason.into()))
    }
}
