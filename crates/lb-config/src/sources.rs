//! Where a configuration comes from, and what counts before what.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lb_core::PolicyRegistry;
use serde_json::Value;

use crate::config::Config;
use crate::environment;
use crate::format::{Format, MOST_BYTES};
use crate::keys::{self, Key, Scope, cut};
use crate::layer::{Layer, checked_name, quoted, suggestion};
use crate::place::Place;
use crate::problem::{Gathered, Problem, Problems};

/// The sources of a configuration. What comes later in this list counts before what comes earlier, key by key, in whatever order they
/// are given here:
///
/// 1. the defaults of the keys, and above them a [preset](crate::Config)'s, if the key `preset` names one;
/// 2. the program's own defaults ([`defaults`](Self::defaults));
/// 3. files, each before those named earlier ([`file`](Self::file));
/// 4. the environment ([`environment`](Self::environment));
/// 5. what the program insists on ([`set`](Self::set), [`overrides`](Self::overrides)).
///
/// A file is the same for all who run the program, the environment is of this one run, so it counts more; and code comes last because
/// nothing could take back what a program sets by its own arguments. What users may change a program gives as defaults.
///
/// What is said of one service counts before what is said of all, from whichever source.
///
/// ```
/// use lb_config::Config;
/// use serde_json::json;
///
/// let config = Config::sources()
///     .defaults(json!({"timeout": "10s", "services": {"orders": {"target": "static:///127.0.0.1:50051"}}}))
///     .environment([("LB_TIMEOUT", "2s"), ("LB_DEFAULT_ALGORITHM", "least_request"), ("PATH", "/bin")])
///     .set("services.orders.waitForReady", true)
///     .load()?;
/// println!("{}", config.explain());
/// # Ok::<(), lb_config::Problems>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "sources do nothing until they are loaded"]
pub struct Sources {
    defaults: Vec<Value>,
    files: Vec<File>,
    variables: BTreeMap<OsString, OsString>,
    overrides: Vec<Override>,
    registry: PolicyRegistry,
}

#[derive(Debug, Clone)]
struct File {
    path: PathBuf,
    optional: bool,
}

#[derive(Debug, Clone)]
enum Override {
    Tree(Value),
    Key(String, Value),
}

/// What a file held when it was read.
pub(crate) type Content = Result<Vec<u8>, std::io::Error>;

impl Sources {
    /// No sources: all defaults, and no services.
    pub fn new() -> Self {
        Self::default()
    }

    /// The program's own defaults, as a tree of JSON; more of them count before those given earlier.
    pub fn defaults(mut self, tree: Value) -> Self {
        self.defaults.push(tree);
        self
    }

    /// A file, by its name in JSON, YAML or TOML; one that cannot be read is a problem.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(File { path: path.into(), optional: false });
        self
    }

    /// A file that need not be there.
    pub fn optional_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(File { path: path.into(), optional: true });
        self
    }

    /// Variables of the environment, as `std::env::vars_os()` gives them; those that are not ours are left alone.
    pub fn environment<N: Into<OsString>, V: Into<OsString>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// One key, by its path: `timeout`, or `services.orders.retry.maxAttempts`.
    pub fn set(mut self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.overrides.push(Override::Key(path.into(), value.into()));
        self
    }

    /// A tree of JSON that counts before everything given so far.
    pub fn overrides(mut self, tree: Value) -> Self {
        self.overrides.push(Override::Tree(tree));
        self
    }

    /// Policies of the program's own, so that they can be named.
    pub fn policies(mut self, registry: PolicyRegistry) -> Self {
        self.registry = registry;
        self
    }

    /// Reads everything. Blocks on files.
    ///
    /// # Errors
    /// Everything that is wrong, in every source.
    pub fn load(&self) -> Result<Config, Problems> {
        self.load_with(self.files.iter().map(|file| content(&file.path)).collect())
    }

    /// The files, in order.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    /// The same with what the files hold.
    pub(crate) fn load_with(&self, contents: Vec<Content>) -> Result<Config, Problems> {
        let mut problems = Gathered::default();
        let mut layers: Vec<Layer> =
            self.defaults.iter().map(|tree| Layer::read("defaults of the program", tree, &mut problems)).collect();
        for (file, content) in self.files.iter().zip(contents) {
            layers.extend(problems.keep(file.tree(content)).map(|tree| Layer::read(&file.source(), &tree, &mut problems)));
        }
        let code: Vec<Layer> = self.overrides.iter().map(|said| said.layer(&mut problems)).collect();
        let known: Vec<Arc<str>> = layers.iter().chain(&code).flat_map(|layer| layer.services.clone()).collect();
        layers.push(environment::read(&self.variables, &known, &mut problems));
        layers.extend(code);
        Config::build(layers, self.registry.clone(), problems)
    }
}

impl File {
    fn source(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn tree(&self, content: Content) -> Result<Value, Problem> {
        let problem = |value: String, allowed: &str| Problem::new(&self.source(), "", value, allowed);
        let Some(format) = Format::of(&self.path) else {
            return Err(problem("of an unknown kind by its name".to_owned(), Format::ENDINGS));
        };
        match content {
            Ok(bytes) => format.parse(&bytes).map_err(|error| problem(cut(&error), "a configuration")),
            Err(error) if self.optional && error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
            Err(error) => Err(problem(format!("cannot be read: {error}"), "a file that can be read")),
        }
    }
}

impl Override {
    fn layer(&self, problems: &mut Gathered) -> Layer {
        const CODE: &str = "code";
        match self {
            Self::Tree(tree) => Layer::read(CODE, tree, problems),
            Self::Key(path, value) => {
                let mut layer = Layer::default();
                match place(path) {
                    Ok((service, key)) => {
                        layer.services.extend(service.clone());
                        if layer.say(&CODE.into(), Place::new(service.as_ref(), key), key.kind, value).is_none() {
                            let problem = Problem::new(CODE, path, quoted(key.kind, value), key.kind.allowed());
                            problems.add(problem.suggest(suggestion(key.kind, value).as_deref()));
                        }
                    }
                    Err(problem) => problems.add(*problem),
                }
                layer
            }
        }
    }
}

/// The key of a path, and its service. A service's name may hold dots: the longest key that fits ends it.
fn place(path: &str) -> Result<(Option<Arc<str>>, &'static Key), Box<Problem>> {
    let unknown = || {
        let meant = crate::suggest::nearest(path.rsplit('.').next().unwrap_or(path), keys::all().iter().map(Key::name));
        Box::new(Problem::new("code", cut(path), "no key", "the path of a key").suggest(meant))
    };
    let Some(rest) = path.strip_prefix("services.") else {
        return keys::find(path).map(|key| (None, key)).ok_or_else(unknown);
    };
    let mut ends = rest.match_indices('.').filter(|(at, _)| *at > 0);
    let found = ends.find_map(|(at, _)| Some((&rest[..at], keys::find(&rest[at + 1..])?)));
    let (name, key) = found.ok_or_else(unknown)?;
    if key.scope == Scope::Top {
        return Err(Box::new(Problem::new("code", cut(path), "set for one service", "only at the top")));
    }
    Ok((Some(checked_name("code", name).map_err(Box::new)?), key))
}

/// A whole file, unless it is too large.
fn content(path: &Path) -> Content {
    use std::io::Read;
    let mut bytes = Vec::new();
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
