//! Where the nodes are, for those who want a region: one question per node, asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lb_core::{Locality, ResolveErrorKind};
use tokio::time::timeout;
use tracing::warn;

use crate::api::Api;
use crate::slice::{Metadata, Slice};

/// Questions at the same time.
const AT_ONCE: usize = 8;

/// What is known of nodes; `None` is one that could not be asked for.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    known: BTreeMap<String, Option<Locality>>,
    /// The server refuses; nobody asks again until the credentials may have changed.
    refused: bool,
}

impl Nodes {
    pub(crate) fn of(&self, name: &str) -> Option<&Locality> {
        self.known.get(name)?.as_ref()
    }

    /// What could not be had may be there now.
    pub(crate) fn forget_failures(&mut self) {
        self.refused = false;
        self.known.retain(|_, locality| locality.is_some());
    }

    /// Asks for the nodes of these slices that are not known yet, for at most `most`, and forgets those that none mentions.
    pub(crate) async fn learn(&mut self, api: &Api, wanted: BTreeSet<String>, most: Duration) {
        self.known.retain(|name, _| wanted.contains(name));
        let missing: Vec<_> = wanted.into_iter().filter(|name| !self.refused && !self.known.contains_key(name)).collect();
        let ask = |name: String| async move {
            let answer = api.node(&name).await;
            (name, answer)
        };
        let mut answers = stream::iter(missing).map(ask).buffer_unordered(AT_ONCE);
        let all = async {
            while let Some((name, answer)) = answers.next().await {
                if let Err(failure) = &answer {
                    warn!(node = name, failure = failure.message, "endpoints come without their node's region");
                    self.refused = failure.kind == ResolveErrorKind::Refused;
                }
                self.known.insert(name, answer.ok().map(|metadata| locality(&metadata)));
                if self.refused {
                    return;
                }
            }
        };
        // Whoever was not answered for by then is asked again with the next change.
        let _ = timeout(most, all).await;
    }
}

/// The names of the nodes that slices mention.
pub(crate) fn mentioned<'a>(slices: impl Iterator<Item = &'a Slice>) -> BTreeSet<String> {
    let names = slices.flat_map(|slice| slice.endpoints.iter().flatten()).filter_map(|endpoint| endpoint.node_name.clone());
    names.filter(|name| !name.is_empty()).collect()
}

fn locality(node: &Metadata) -> Locality {
    let label = |key: &str| node.labels.as_ref().and_then(|labels| labels.get(key)).map_or("", String::as_str);
    Locality::new(label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"), "")
}
