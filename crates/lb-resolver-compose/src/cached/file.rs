//! The file: two lines of JSON, the first about the second.
//!
//! ```text
//! {"format":"evenkeel endpoints","version":1,"target":"consul:///orders","savedAt":1790000000,"length":73,"checksum":"f00d…"}
//! {"endpoints":[{"addresses":["10.0.0.1:50051"],"attributes":{"weight":1,…}}],"serviceConfig":{…}}
//! ```
//!
//! `savedAt` is in seconds since 1970, `length` and `checksum` are of the second line without its end. Everything here blocks.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use lb_core::Address;
use lb_core::Attributes;
use lb_core::Endpoint;
use lb_core::ResolverUpdate;
use lb_core::ServiceConfigUpdate;
use serde::Deserialize;
use serde::Serialize;

use crate::hash::hash;

const FORMAT: &str = "evenkeel endpoints";
const VERSION: u32 = 1;

/// 100 000 endpoints with all their attributes fit; what is larger is not ours.
const MOST_BYTES: u64 = 64 << 20;

/// Clocks of machines that share a file differ by less; beyond it the clock went backwards and the age is unknown.
const MOST_AHEAD: Duration = Duration::from_secs(5 * 60);

/// Which file, of what, and how old it may be.
#[derive(Debug)]
pub(super) struct CacheFile {
    pub(super) path: PathBuf,
    /// Of the source, as its user wrote it.
    pub(super) target: String,
    pub(super) max_age: Duration,
}

/// A usable file's content.
#[derive(Debug, PartialEq)]
pub(super) struct Loaded {
    pub(super) update: ResolverUpdate,
    pub(super) age: Duration,
}

/// The first line's part that every version has.
#[derive(Debug, Deserialize)]
struct Kind {
    format: String,
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Header {
    format: String,
    version: u32,
    target: String,
    saved_at: u64,
    length: usize,
    checksum: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    endpoints: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_config: Option<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    addresses: Vec<String>,
    attributes: Attributes,
}

impl CacheFile {
    /// What the file holds: `None` if there is none, `Err` says why it is not to be used.
    pub(super) fn read(&self, now: SystemTime) -> Result<Option<Loaded>, String> {
        match self.text() {
            Ok(text) => self.parse(&text, now).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn text(&self) -> io::Result<String> {
        // Looked at before it is opened: opening a pipe would wait for somebody to write to it.
        check(&fs::metadata(&self.path)?)?;
        let file = File::open(&self.path)?;
        check(&file.metadata()?)?;
        let mut text = String::new();
        file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    }

    fn parse(&self, text: &str, now: SystemTime) -> Result<Loaded, String> {
        let (head, body) = text.split_once('\n').ok_or("it has no second line")?;
        let body = body.strip_suffix('\n').ok_or("it is cut off")?;
        let header = self.header(head)?;
        if header.length != body.len() || header.checksum != checksum(body) {
            return Err("it is damaged: length or checksum differ".to_owned());
        }
        let age = self.age(header.saved_at, now)?;
        let body: Body = serde_json::from_str(body).map_err(|error| format!("it is not as written by this version: {error}"))?;
        let endpoints = body.endpoints.into_iter().map(Entry::into_endpoint).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err("it holds no endpoints".to_owned());
        }
        let config = body.service_config.map_or(ServiceConfigUpdate::Absent, ServiceConfigUpdate::Json);
        Ok(Loaded { update: ResolverUpdate::new(endpoints).with_service_config(config), age })
    }

    fn header(&self, head: &str) -> Result<Header, String> {
        let foreign = |error| format!("its first line is none of ours: {error}");
        let kind: Kind = serde_json::from_str(head).map_err(foreign)?;
        if kind.format != FORMAT || kind.version != VERSION {
            let (format, version) = (kind.format, kind.version);
            return Err(format!("it is {format:?} version {version}; allowed is {FORMAT:?} version {VERSION}"));
        }
        let header: Header = serde_json::from_str(head).map_err(foreign)?;
        if header.target != self.target {
            return Err(format!("it is of the target {:?}, not {:?}", header.target, self.target));
        }
        Ok(header)
    }

    fn age(&self, saved_at: u64, now: SystemTime) -> Result<Duration, String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let saved = Duration::from_secs(saved_at);
        match now.checked_sub(saved) {
            Some(age) if age > self.max_age => Err(format!("it is {age:.0?} old; allowed is {:?}", self.max_age)),
            Some(age) => Ok(age),
            None if saved - now <= MOST_AHEAD => Ok(Duration::ZERO),
            None => Err(format!("it is {:?} from the future: the clock went backwards and its age is unknown", saved - now)),
        }
    }

    /// Replaces the file, or leaves it as it was.
    pub(super) fn write(&self, update: &ResolverUpdate, now: SystemTime) -> io::Result<()> {
        let text = self.compose(update, now)?;
        let temporary = self.temporary()?;
        let written = write_synced(&temporary, text.as_bytes()).and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // What is left of it is of no use to anybody; that it cannot be removed either changes nothing.
            drop(fs::remove_file(&temporary));
        }
        written?;
        sync_directory(&self.path);
        Ok(())
    }

    fn compose(&self, update: &ResolverUpdate, now: SystemTime) -> io::Result<String> {
        let service_config = match &update.service_config {
            ServiceConfigUpdate::Json(config) => Some(config.clone()),
            _ => None,
        };
        let body = Body { endpoints: update.endpoints.iter().filter_map(Entry::of).collect(), service_config };
        let body = serde_json::to_string(&body)?;
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            target: self.target.clone(),
            saved_at: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            length: body.len(),
            checksum: checksum(&body),
        };
        Ok(format!("{}\n{body}\n", serde_json::to_string(&header)?))
    }

    /// A name nobody else uses, in the same directory because a rename must not cross file systems.
    fn temporary(&self) -> io::Result<PathBuf> {
        let name = self.path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{:016x}.tmp", RandomState::new().hash_one(std::process::id())));
        Ok(self.path.with_file_name(hidden))
    }
}

impl Entry {
    /// `None` if an address has no text form that can be read back.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let text = |address: &Address| Some(address.to_string()).filter(|text| text.parse().as_ref() == Ok(address));
        let addresses = endpoint.addresses().iter().map(text).collect::<Option<_>>()?;
        Some(Self { addresses, attributes: endpoint.attributes.clone() })
    }

    fn into_endpoint(self) -> Result<Endpoint, String> {
        let addresses: Result<Vec<Address>, _> = self.addresses.iter().map(|text| text.parse()).collect();
        let endpoint =
            Endpoint::with_addresses(addresses.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        Ok(endpoint.with_attributes(self.attributes))
    }
}

/// Reads a file as it is, and one whose first line fits what follows, so that the second is reached: what was read and written must
/// read the same.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    let file = CacheFile { path: PathBuf::new(), target: "t".to_owned(), max_age: Duration::MAX };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = file.parse(text, UNIX_EPOCH);
    let (format, length, checksum) = (FORMAT.to_owned(), text.len(), checksum(text));
    let header = Header { format, version: VERSION, target: "t".to_owned(), saved_at: 0, length, checksum };
    let head = serde_json::to_string(&header).expect("a header is JSON");
    if let Ok(loaded) = file.parse(&format!("{head}\n{text}\n"), UNIX_EPOCH) {
        let written = file.compose(&loaded.update, UNIX_EPOCH).expect("what was read can be written");
        assert_eq!(file.parse(&written, UNIX_EPOCH), Ok(loaded), "{written}");
    }
}

fn checksum(body: &str) -> String {
    format!("{:016x}", hash(&[body.as_bytes()]))
}

/// Whoever may write the file decides where calls go.
fn check(metadata: &fs::Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if metadata.len() > MOST_BYTES {
        let message = format!("it has {} bytes; allowed are {MOST_BYTES}", metadata.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode();
        if mode & 0o022 != 0 {
            let message = format!("others than its owner may write to it (mode {:03o})", mode & 0o777);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Best effort: the content is safe already, and a file system that cannot sync a directory may still keep it.
fn sync_directory(path: &Path) {
    #[cfg(unix)]
    {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        drop(File::open(directory).and_then(|directory| directory.sync_all()));
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
