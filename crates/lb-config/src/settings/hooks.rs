//! Which other programs are told of events.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lb_core::{LbEvent, Severity};

use crate::problem::{Gathered, Problem};
use crate::suggest::nearest;
use crate::view::View;

/// Events as signed messages to a URL, for all services together.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookSettings {
    /// Where they are sent.
    pub url: String,
    /// What they are signed with.
    pub secrets: Vec<String>,
    /// A file with further ones, read when channels are built.
    pub secrets_file: Option<PathBuf>,
    /// A file with a bearer token, read for every message.
    pub token_file: Option<PathBuf>,
    /// A file with the certificate authorities to trust alone, read when channels are built.
    pub ca_file: Option<PathBuf>,
    /// For one message.
    pub timeout: Duration,
    /// Empty goes by severity.
    pub kinds: Vec<String>,
    /// The least that is told.
    pub least_severity: Severity,
    /// How many may wait.
    pub capacity: usize,
    /// Whether the newest goes when there is no room, and not the oldest.
    pub drop_newest: bool,
    /// The most of a message.
    pub batch: usize,
    /// How long one waits for others.
    pub linger: Duration,
    /// How often a message is sent.
    pub attempts: u32,
}

impl fmt::Debug for WebhookSettings {
    /// Secrets are not printed, but how many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queue, sending) = ((self.capacity, self.drop_newest), (self.batch, self.linger, self.attempts, self.timeout));
        f.debug_struct("WebhookSettings")
            .field("url", &self.url)
            .field("secrets", &self.secrets.len())
            .field("files", &(&self.secrets_file, &self.token_file, &self.ca_file))
            .field("told", &(&self.kinds, self.least_severity))
            .field("queue", &queue)
            .field("sending", &sending)
            .finish()
    }
}

/// `None` without a webhook; what is wrong with one is then among the problems.
pub(crate) fn webhook(view: View<'_>, problems: &mut Gathered) -> Option<WebhookSettings> {
    if !view.is_on("webhook") {
        return None;
    }
    if let Some(problem) = wrong(view) {
        problems.add(problem);
        return None;
    }
    let path = |path: &str| view.text(path).map(Into::into);
    Some(WebhookSettings {
        url: view.text("webhook.url")?,
        secrets: view.texts("webhook.secrets"),
        secrets_file: path("webhook.secretsFile"),
        token_file: path("webhook.tokenFile"),
        ca_file: path("webhook.caFile"),
        timeout: view.time("webhook.timeout")?,
        kinds: view.texts("webhook.kinds"),
        least_severity: match view.text("webhook.leastSeverity").as_deref() {
            Some("debug") => Severity::Debug,
            Some("warning") => Severity::Warning,
            _ => Severity::Info,
        },
        capacity: view.size("webhook.capacity")?,
        drop_newest: view.text("webhook.overflow").as_deref() == Some("dropNewest"),
        batch: view.size("webhook.batch")?,
        linger: view.time("webhook.linger")?,
        attempts: view.whole_u32("webhook.attempts")?,
    })
}

fn wrong(view: View<'_>) -> Option<Problem> {
    if cfg!(not(feature = "hooks")) {
        return Some(view.wrong("webhook", "on", "off: it needs the feature hooks"));
    }
    if !view.is_set("webhook.url") {
        return Some(view.wrong("webhook", "without a URL", "a webhook.url beside it"));
    }
    if view.texts("webhook.secrets").is_empty() && !view.is_set("webhook.secretsFile") {
        return Some(view.wrong("webhook", "without secrets", "webhook.secrets or webhook.secretsFile"));
    }
    let kinds = view.texts("webhook.kinds");
    let unknown = kinds.iter().find(|kind| !LbEvent::KINDS.contains(&kind.as_str()))?;
    let problem = view.wrong("webhook.kinds", &format!("{unknown:?}"), format!("one or more of {}", LbEvent::KINDS.join(", ")));
    Some(problem.suggest(nearest(unknown, LbEvent::KINDS.iter().copied())))
}
