//! Endpoints from a watched file.
//!
//! The directory is watched rather than the file, so that every way of replacing it is seen: rename over it, delete and
//! create, rewrite in place, and the symbolic link that Kubernetes swaps when a ConfigMap changes. Changes within a short time are
//! one. Beside that the file is read at a slow pace, for file systems that tell nobody (NFS) and links further up the path.
//!
//! A file is taken whole or not at all. What cannot be read is an error that names the file, the line, the value and what is
//! allowed, and the endpoints known before stay in use. A file that could be caught half-written is read again; to be safe
//! against that, write a new file and rename it over the old one.
//!
//! All reading happens on tokio's blocking threads. Dropping the stream ends the watch and its thread.

mod read;
mod schema;
mod stream;
mod watch;
mod watched;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream as streams;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;

use read::Problem;
use schema::Format;
use stream::FileStream;

pub use schema::endpoints_from_json;
pub use watched::WatchedFile;

/// Shorter settings would turn the file system into a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

/// What a file may not exceed.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    endpoints: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // 100 000 endpoints with the usual attributes are about 16 MiB; either bounds the memory of one set to well below 1 GiB.
        Self { bytes: 16 << 20, endpoints: 100_000 }
    }
}

/// Resolves `file:///etc/orders.json`, `file:orders.yaml` (relative to the working directory) and so on: endpoints from a
/// watched file.
///
/// Every change of the file replaces the endpoints at once; a file that cannot be read is an error and changes nothing.
///
#[doc = include_str!("format.md")]
///
/// The `:authority` is `localhost`, because a path is no name; set the channel's, or `hostname` per endpoint.
/// Streams need a tokio runtime with time enabled.
#[derive(Debug, Clone)]
pub struct FileResolver {
    debounce: Duration,
    poll: Duration,
    limits: Limits,
}

impl Default for FileResolver {
    fn default() -> Self {
        Self {
            // Editors and config agents touch a file several times within a few milliseconds.
            debounce: Duration::from_millis(100),
            // Only what the watch cannot see waits this long.
            poll: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

impl FileResolver {
    /// A resolver with the default limits and times.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the directory must be quiet before the file is read; default 100 ms, at least 10 ms. A directory that is
    /// never quiet is read every twenty such times.
    #[must_use]
    pub fn with_debounce(self, debounce: Duration) -> Self {
        Self { debounce: debounce.max(SHORTEST), ..self }
    }

    /// Sets how often the file is read if nothing is heard of a change; default 30 s, at least 10 ms.
    #[must_use]
    pub fn with_poll_interval(self, poll: Duration) -> Self {
        Self { poll: poll.max(SHORTEST), ..self }
    }

    /// Sets the size in bytes above which a file is an error; default 16 MiB.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets the number of endpoints above which a file is an error; default 100 000.
    #[must_use]
    pub fn with_max_endpoints(mut self, endpoints: usize) -> Self {
        self.limits.endpoints = endpoints;
        self
    }
}

impl Resolver for FileResolver {
    fn schemes(&self) -> &[&'static str] {
        &["file"]
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        locate(target).map(drop)
    }

    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        match locate(target) {
            Err(error) => Box::pin(streams::iter([Err(error)]).chain(streams::pending())),
            Ok((path, format)) => {
                let (shown, limits) = (path.clone(), self.limits);
                let make = move |content| update(&shown, content, format, limits.endpoints);
                FileStream::new(path, limits.bytes, again, Arc::new(make)).with_pace(self.debounce, self.poll).run()
            }
        }
    }

    fn authority(&self, _target: &Target) -> Option<String> {
        Some("localhost".to_owned())
    }
}

/// The endpoints of a file, or what is wrong with it. Takes a while for a large one.
fn update(
    path: &Path,
    content: Result<Vec<u8>, Problem>,
    format: Format,
    most_endpoints: usize,
) -> Result<ResolverUpdate, ResolveError> {
    let malformed = |message| (ResolveErrorKind::Malformed, message);
    let parse = |bytes: Vec<u8>| {
        let text = std::str::from_utf8(&bytes).map_err(|error| malformed(format!("not UTF-8: {error}")))?;
        format.parse(text, most_endpoints).map_err(malformed)
    };
    content.and_then(parse).map_err(|(kind, message)| ResolveError::new(kind, format!("file {}: {message}", path.display())))
}

fn locate(target: &Target) -> Result<(PathBuf, Format), ResolveError> {
    let invalid =
        |reason: String| ResolveError::new(ResolveErrorKind::InvalidTarget, format!("target {:?}: {reason}", target.as_str()));
    // RFC 8089 lets `file://localhost/path` mean this machine.
    if !matches!(target.authority(), "" | "localhost") {
        return Err(invalid(format!(
            "a file has no authority, found {:?}; write file:///path with three slashes, or file:path for a relative one",
            target.authority()
        )));
    }
    let path = PathBuf::from(target.file_path());
    let format = Format::of(&path).ok_or_else(|| invalid("the name of the file must end in .json, .yaml or .yml".to_owned()))?;
    // Absolute from here on, so that a later change of the working directory does not matter.
    let path = std::path::absolute(&path).map_err(|error| invalid(format!("no such path: {error}")))?;
    Ok((path, format))
}

/// Reads a file as JSON and as YAML.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    const MOST: usize = 100;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for format in [Format::Json, Format::Yaml] {
        let read = format.parse(text, MOST);
        assert!(read.is_err() || read.is_ok_and(|update| update.endpoints.len() <= MOST), "the bound on endpoints holds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text, &|scheme| scheme == "file").unwrap()
    }

    #[test]
    fn paths_are_absolute_or_relative_and_named_by_format() {
        assert_eq!(locate(&target("file:///etc/orders.json")).unwrap(), ("/etc/orders.json".into(), Format::Json));
        assert_eq!(locate(&target("file:/etc/orders.YAML")).unwrap(), ("/etc/orders.YAML".into(), Format::Yaml));
        assert_eq!(locate(&target("file://localhost/etc/orders.yml")).unwrap(), ("/etc/orders.yml".into(), Format::Yaml));
        let here = std::env::current_dir().unwrap();
        assert_eq!(locate(&target("file:orders.yml")).unwrap().0, here.join("orders.yml"));
    }

    #[test]
    fn what_is_no_file_is_an_error_of_the_target() {
        for (text, expected) in
            [("file://etc/orders.json", "three slashes"), ("file:///etc/orders", ".json, .yaml or .yml"), ("file:", "must end in")]
        {
            let error = FileResolver::new().validate(&target(text)).unwrap_err();
            assert_eq!(error.kind(), ResolveErrorKind::InvalidTarget);
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
