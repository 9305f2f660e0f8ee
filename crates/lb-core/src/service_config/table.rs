//! Finding what holds for a method.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use super::fields;
use super::method::MethodConfig;
use super::name::Name;
use super::policy::PolicyConfig;
use crate::policy::ConfigError;
use crate::registry::PolicyRegistry;

/// The most different policies that methods may have. Each of them costs a rebuild at every change of the endpoints.
pub const MAX_METHOD_POLICIES: usize = 32;

const FIELD: &str = "methodConfig";

/// Method configs by the names they are for. See the [module's essay](super) for which of them counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MethodTable {
    /// By path, with the slash in front.
    methods: Paths,
    /// By the part of a path before its last slash.
    services: Paths,
    default: Option<Arc<MethodConfig>>,
}

type Paths = HashMap<Box<str>, Arc<MethodConfig>, BuildHasherDefault<PathHash>>;

/// Paths are the program's own, and there are as many as there are methods: nothing here needs a secret.
#[derive(Debug, Clone, Default)]
struct PathHash(u64);

impl Hasher for PathHash {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh64(bytes, self.0);
    }

    /// What `str` adds to tell it from what follows; nothing follows.
    #[inline]
    fn write_u8(&mut self, _end: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl MethodTable {
    /// Reads the list `methodConfig` of a service config; without one the table is empty.
    pub(super) fn from_json(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let mut table = Self::default();
        let mut seen = BTreeMap::new();
        for (index, method) in fields::objects("", config, FIELD)?.iter().enumerate() {
            let at = format!("{FIELD}[{index}]");
            let entry = Arc::new(MethodConfig::from_json(&at, method, registry)?);
            for (index, name) in fields::objects(&at, method, "name")?.iter().enumerate() {
                let at = format!("{at}.name[{index}]");
                let name = Name::from_json(&at, name)?;
                match seen.entry(name.clone()) {
                    Entry::Vacant(place) => place.insert(at),
                    Entry::Occupied(first) => {
                        let allowed = format!("a name that does not stand at {} already", first.get());
                        return Err(ConfigError::new(at, name.describe(), allowed));
                    }
                };
                table.insert(&name, Arc::clone(&entry));
            }
        }
        table.check_policies()
    }

    fn insert(&mut self, name: &Name<'_>, entry: Arc<MethodConfig>) {
        match name {
            Name::Default => self.default = Some(entry),
            Name::Service(service) => {
                self.services.insert(format!("/{service}").into(), entry);
            }
            // The last slash of a path ends the service, so a method with a slash is no method.
            Name::Method(_, method) if method.contains('/') => {}
            Name::Method(service, method) => {
                self.methods.insert(format!("/{service}/{method}").into(), entry);
            }
        }
    }

    fn check_policies(self) -> Result<Self, ConfigError> {
        let count = self.policies().len();
        if count > MAX_METHOD_POLICIES {
            let allowed = format!("at most {MAX_METHOD_POLICIES} in one service config");
            return Err(ConfigError::new(FIELD, format_args!("{count} different policies"), allowed));
        }
        Ok(self)
    }

    /// What holds for the method of this path, such as `/orders.v1.Orders/Place`; case counts.
    #[inline]
    pub fn find(&self, path: &str) -> Option<&Arc<MethodConfig>> {
        // A map without entries is not worth a hash.
        if !self.methods.is_empty()
            && let Some(found) = self.methods.get(path)
        {
            return Some(found);
        }
        if !self.services.is_empty()
            && let Some((service, _)) = path.rsplit_once('/')
            && let Some(found) = self.services.get(service)
        {
            return Some(found);
        }
        self.default.as_ref()
    }

    /// Whether there is nothing for any method.
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty() && self.services.is_empty() && self.default.is_none()
    }

    /// Every entry; one that has several names comes once for each.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<MethodConfig>> {
        self.methods.values().chain(self.services.values()).chain(&self.default)
    }

    /// For each policy of the methods by its full name: the full name of one of its kind that a method it is for had `before`, if there
    /// was one. The policy that comes can take over what that one learnt.
    pub fn predecessors(&self, before: &Self) -> BTreeMap<Arc<str>, Arc<str>> {
        let methods = self.methods.iter().map(|(path, entry)| (entry, before.find(path)));
        // A service is found by any method that has no entry of its own, such as one without a name.
        let services = self.services.iter().map(|(path, entry)| (entry, before.find(&format!("{path}/"))));
        let default = self.default.iter().map(|entry| (entry, before.default.as_ref()));
        let mut predecessors = BTreeMap::new();
        for (now, was) in methods.chain(services).chain(default) {
            let (Some(now), Some(was)) = (&now.policy, was.and_then(|was| was.policy.as_ref())) else { continue };
            if now.name() == was.name() {
                let (now, was) = (now.full_name(), was.full_name());
                // Of several the same one whatever the order.
                let first = predecessors.entry(now).or_insert_with(|| Arc::clone(&was));
                *first = Arc::clone(first).min(was);
            }
        }
        predecessors
    }

    /// The different policies of the methods, by their full names.
    pub fn policies(&self) -> BTreeMap<Arc<str>, &PolicyConfig> {
        self.entries().filter_map(|entry| Some((Arc::clone(entry.policy_name()?), entry.policy.as_ref()?))).collect()
    }
}
