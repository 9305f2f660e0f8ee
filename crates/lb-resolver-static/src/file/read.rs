//! Reads a file whole. Blocks, so it belongs on a blocking thread.

use std::fs::File;
use std::fs::Metadata;
use std::hash::DefaultHasher;
use std::hash::Hasher;
use std::io;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use lb_core::ResolveErrorKind;

/// A file that changes while it is read is read again this often before it is an error; whoever writes it rings again anyway.
const READS: usize = 5;

/// Time for a writer to finish between two reads.
const BETWEEN_READS: Duration = Duration::from_millis(20);

/// What a look at the file gave, and a digest that tells one outcome from another.
#[derive(Debug)]
pub(super) struct Look<T> {
    pub(super) outcome: T,
    pub(super) digest: u64,
}

/// Why a file cannot be read, in the resolver's terms and in words.
pub(super) type Problem = (ResolveErrorKind, String);

/// What becomes of a file's content.
pub(super) type Make<T> = dyn Fn(Result<Vec<u8>, Problem>) -> T + Send + Sync;

/// Looks at the file. If the digest is `known`, nothing changed and nothing is made of it.
pub(super) fn look<T>(path: &Path, most_bytes: u64, known: Option<u64>, make: &Make<T>) -> Option<Look<T>> {
    let content = stable_content(path, most_bytes);
    let digest = match &content {
        Ok(bytes) => digest(0, bytes),
        Err((_, message)) => digest(1, message.as_bytes()),
    };
    if known == Some(digest) {
        return None;
    }
    Some(Look { outcome: make(content), digest })
}

fn digest(kind: u8, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish()
}

/// The content as it was at one moment, as far as sizes and times of the file tell.
fn stable_content(path: &Path, most_bytes: u64) -> Result<Vec<u8>, Problem> {
    for attempt in 0..READS {
        if attempt > 0 {
            std::thread::sleep(BETWEEN_READS);
        }
        let before = stamp(path, most_bytes)?;
        let mut bytes = Vec::new();
        let mut file = File::open(path).map_err(problem)?.take(most_bytes + 1);
        file.read_to_end(&mut bytes).map_err(problem)?;
        if stamp(path, most_bytes)? == before && bytes.len() as u64 == before.0 {
            return Ok(bytes);
        }
    }
    Err((ResolveErrorKind::Unavailable, "it keeps changing while it is read; write a new file and rename it".to_owned()))
}

type Stamp = (u64, Option<SystemTime>, u64);

fn stamp(path: &Path, most_bytes: u64) -> Result<Stamp, Problem> {
    let metadata = std::fs::metadata(path).map_err(problem)?;
    let size = metadata.len();
    // A pipe would block for ever.
    if !metadata.is_file() {
        return Err((ResolveErrorKind::Malformed, "not a regular file".to_owned()));
    }
    if size > most_bytes {
        return Err((ResolveErrorKind::Malformed, format!("it has {size} bytes; at most {most_bytes} are allowed")));
    }
    Ok((size, metadata.modified().ok(), identity(&metadata)))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> u64 {
    0
}

fn problem(error: io::Error) -> Problem {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ResolveErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ResolveErrorKind::Refused,
        _ => ResolveErrorKind::Unavailable,
    };
    (kind, format!("cannot be read: {error}"))
}
