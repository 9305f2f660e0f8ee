//! A configuration: what was said, by whom, and what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_core::PolicyRegistry;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::diff::{self, Changed, Diff, outer};
use crate::explain::Explanation;
use crate::keys::{self, HIDDEN, Scope};
use crate::layer::Layer;
use crate::preset;
use crate::problem::{Gathered, Problems};
use crate::settings::{self, MetricsSettings, ServiceSettings, WebhookSettings};
use crate::sources::Sources;
use crate::view::{Entries, UNNAMED, View, lay};

/// A configuration that was found right as a whole. Cheap to clone, never changes.
///
/// ```
/// use lb_config::Config;
/// use serde_json::json;
///
/// let config = Config::from_json(&json!({
///     "policy": "least_request",
///     "timeout": "2s",
///     "services": {
///         "orders": {"endpoints": ["10.0.0.1:50051", {"address": "10.0.0.2:50051", "weight": 3}]},
///         "stock": {"target": "static:///10.0.0.3:50051", "timeout": "500ms", "retry": {"maxAttempts": 4}}
///     }
/// }))?;
/// let stock = config.service("stock").expect("it was just configured");
/// assert_eq!(stock.calls.timeout, Some(std::time::Duration::from_millis(500)));
///
/// let wrong = Config::from_json(&json!({"polcy": "random", "timeout": 5})).unwrap_err();
/// assert_eq!(wrong.iter().count(), 2, "{wrong}");
/// # Ok::<(), lb_config::Problems>(())
/// ```
#[derive(Clone)]
pub struct Config {
    inner: Arc<Inner>,
}

struct Inner {
    entries: Entries,
    services: BTreeMap<Arc<str>, Arc<ServiceSettings>>,
    metrics: MetricsSettings,
    webhook: Option<WebhookSettings>,
    registry: PolicyRegistry,
}

impl Config {
    /// From its sources, in layers; see [`Sources`].
    pub fn sources() -> Sources {
        Sources::new()
    }

    /// From one tree alone: what `PUT` of a whole configuration brings, or a test.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_json(tree: &Value) -> Result<Self, Problems> {
        Sources::new().overrides(tree.clone()).load()
    }

    /// From one tree, in place of all this one says. A secret that [`to_json`](Self::to_json) has hidden stays what it is here, so that
    /// what was read can be written back.
    ///
    /// # Errors
    /// Everything that is wrong with it; this one stays as it is in any case.
    pub fn replaced(&self, source: &str, tree: &Value) -> Result<Self, Problems> {
        let mut problems = Gathered::default();
        let layer = Layer::read_over(source, tree, Some(&self.inner.entries), &mut problems);
        Self::build(vec![layer], self.inner.registry.clone(), problems)
    }

    /// The same with a tree laid over it, in which `null` takes back what was said.
    ///
    /// # Errors
    /// Everything that is wrong with the tree, or with what comes of it.
    pub fn with(&self, source: &str, tree: &Value) -> Result<Self, Problems> {
        let mut problems = Gathered::default();
        let layer = Layer::read_over(source, tree, Some(&self.inner.entries), &mut problems);
        Self::build(vec![self.as_layer(), layer], self.inner.registry.clone(), problems)
    }

    /// From layers, the last counts first.
    pub(crate) fn build(layers: Vec<Layer>, registry: PolicyRegistry, mut problems: Gathered) -> Result<Self, Problems> {
        let mut services: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut entries = Entries::new();
        let preset = chosen_preset(&layers).and_then(|name| Some((preset::tree(&name)?, name)));
        let preset = preset.map(|(tree, name)| Layer::read(&format!("preset {name}"), &tree, &mut problems));
        for layer in preset.into_iter().chain(layers) {
            services.extend(layer.services);
            layer.said.into_iter().for_each(|said| lay(&mut entries, said));
        }
        let unnamed: Arc<str> = UNNAMED.into();
        let top = View::new(&entries, None);
        if top.is_set("target") || top.is_set("endpoints") {
            services.insert(unnamed);
        }
        // What is said wrong of all is wrong for each service: told once is enough.
        let mut read = BTreeMap::new();
        for name in &services {
            let mut own = Gathered::default();
            if let Some(settings) = settings::read(name, View::new(&entries, Some(name)), &registry, &mut own) {
                read.insert(Arc::clone(name), Arc::new(settings));
            }
            problems.add_new(own);
        }
        if services.is_empty() {
            settings::check(View::new(&entries, None), &registry, &mut problems);
        }
        let metrics = settings::metrics(View::new(&entries, None));
        let webhook = settings::webhook(View::new(&entries, None), &mut problems);
        Problems::check(problems)?;
        Ok(Self { inner: Arc::new(Inner { entries, services: read, metrics, webhook, registry }) })
    }

    fn as_layer(&self) -> Layer {
        let said = self.inner.entries.iter().map(|(place, entry)| crate::layer::Said {
            place: place.clone(),
            value: entry.value.clone(),
            source: Arc::clone(&entry.source),
        });
        let services = self.inner.services.keys().filter(|name| ***name != *UNNAMED).cloned();
        Layer { said: said.collect(), services: services.collect() }
    }

    /// The services, by name. What is set up at the top is the service `default`.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceSettings>> {
        self.inner.services.values()
    }

    /// One of them.
    pub fn service(&self, name: &str) -> Option<&Arc<ServiceSettings>> {
        self.inner.services.get(name)
    }

    /// What is configured of metrics.
    pub fn metrics(&self) -> &MetricsSettings {
        &self.inner.metrics
    }

    /// Who else is told of events.
    pub fn webhook(&self) -> Option<&WebhookSettings> {
        self.inner.webhook.as_ref()
    }

    /// What was said, by anybody, without defaults; secrets are hidden. Read back by [`replaced`](Self::replaced).
    pub fn to_json(&self) -> Value {
        let mut tree = json!({});
        for name in self.inner.services.keys().filter(|name| ***name != *UNNAMED) {
            tree["services"][&**name] = json!({});
        }
        for (place, entry) in &self.inner.entries {
            let at = match place.service() {
                Some(service) => &mut tree["services"][service],
                None => &mut tree,
            };
            put(at, place.key(), shown(place.key(), entry.value.clone()));
        }
        tree
    }

    /// Everything that counts, defaults included: at the top what is for no service, and below `services` each with all its keys. Sections
    /// that are off have `"enabled": false` alone. Secrets are hidden.
    pub fn effective(&self) -> Value {
        let mut tree = json!({"services": {}});
        fill(&mut tree, View::new(&self.inner.entries, None), |scope| scope == Scope::Top);
        for name in self.inner.services.keys() {
            fill(&mut tree["services"][&**name], self.view(name), |scope| scope != Scope::Top);
        }
        tree
    }

    /// Where each value came from.
    pub fn explain(&self) -> Explanation {
        Explanation::of(&self.inner.entries, self.inner.services.keys())
    }

    /// What another one changes.
    pub fn diff(&self, new: &Self) -> Diff {
        Diff::between((&self.inner.entries, &self.inner.services), (&new.inner.entries, &new.inner.services))
    }

    /// What another one changes for one service.
    pub(crate) fn diff_of(&self, service: &Arc<str>, new: &Self) -> Vec<Changed> {
        diff::compare(Some(service), &self.inner.entries, &new.inner.entries)
    }

    pub(crate) fn view<'a>(&'a self, service: &'a Arc<str>) -> View<'a> {
        View::new(&self.inner.entries, Some(service))
    }
}

/// The preset that counts: the last that is named.
fn chosen_preset(layers: &[Layer]) -> Option<String> {
    let mut said = layers.iter().flat_map(|layer| &layer.said).filter(|said| said.place.key() == "preset");
    said.next_back()?.value.as_str().map(str::to_owned)
}

fn fill(tree: &mut Value, view: View<'_>, concerns: impl Fn(Scope) -> bool) {
    for key in keys::all().iter().filter(|key| concerns(key.scope)) {
        let counts = if key.is_switch() { view.counts_section(outer(key.section())) } else { view.counts(key) };
        let value = view.value(key).filter(|_| counts);
        value.into_iter().for_each(|value| put(tree, key.path, shown(key.path, value)));
    }
}

fn shown(path: &str, value: Value) -> Value {
    if keys::find(path).is_some_and(|key| key.kind.is_secret()) { json!([HIDDEN]) } else { value }
}

/// Puts a value at its path. `at` and everything on the way is an object or nothing yet: no key is a section too.
fn put(mut at: &mut Value, path: &str, value: Value) {
    for name in path.split('.') {
        at = &mut at[name];
    }
    *at = value;
}

impl PartialEq for Config {
    /// Whether they mean the same, wherever it was said.
    fn eq(&self, other: &Self) -> bool {
        self.diff(other).is_empty()
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Config({})", self.to_json())
    }
}

impl Serialize for Config {
    /// As [`to_json`](Config::to_json).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Config {
    /// As [`from_json`](Config::from_json); the error has all problems, one to a line.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
