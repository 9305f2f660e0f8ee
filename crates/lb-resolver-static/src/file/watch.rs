//! Hears of changes to a file by watching the directories it is reached through.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use lb_core::Trigger;
use notify::Event;
use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::AccessKind;
use notify::event::AccessMode;

/// A running watch; dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Watch {
    places: Places,
    _watcher: RecommendedWatcher,
}

/// The directories to watch and the names in them that matter: of the file as given, and of what it links to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    directories: Vec<PathBuf>,
    names: Vec<OsString>,
}

impl Watch {
    /// Keeps the watch if it still looks in the right places, else starts one that does. `None` if the system will not watch, for
    /// instance because the directory is missing. Blocks for a moment.
    pub(super) fn keep_or_start(current: Option<Self>, file: &Path, bell: &Trigger) -> Option<Self> {
        let places = Places::of(file);
        match current {
            Some(watch) if watch.places == places => Some(watch),
            _ => Self::start(file, bell),
        }
    }

    /// Starts a watch. A new one is also how a directory that was replaced is found again.
    pub(super) fn start(file: &Path, bell: &Trigger) -> Option<Self> {
        let places = Places::of(file);
        let watched = Self::try_start(&places, bell.clone());
        watched.inspect_err(|error| tracing::debug!(file = %file.display(), %error, "not watched, only polled")).ok()
    }

    fn try_start(places: &Places, bell: Trigger) -> notify::Result<Self> {
        let heard = places.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error may mean lost events.
            if event.map_or(true, |event| heard.concern(&event)) {
                bell.fire();
            }
        })?;
        for directory in &places.directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { places: places.clone(), _watcher: watcher })
    }
}

impl Places {
    fn of(file: &Path) -> Self {
        let resolved = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let mut places = Self { directories: Vec::new(), names: Vec::new() };
        for path in [file, &resolved] {
            let directory = path.parent().unwrap_or(path).to_owned();
            let name = path.file_name().unwrap_or_default().to_owned();
            if !places.directories.contains(&directory) {
                places.directories.push(directory);
            }
            if !places.names.contains(&name) {
                places.names.push(name);
            }
        }
        places
    }

    /// Whether the file may have changed. Mere reading, ours included, is not a change.
    fn concern(&self, event: &Event) -> bool {
        let change = match event.kind {
            EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
            _ => true,
        };
        change && (event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| self.names_or_swap(path)))
    }

    fn names_or_swap(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        self.names.iter().any(|known| known == name) || self.directories.iter().any(|known| known == path) || is_swap(name)
    }
}

/// `..data` and its like, through which Kubernetes swaps all files of a volume at once.
fn is_swap(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"..")
}

#[cfg(test)]
mod tests {
    use notify::event::CreateKind;
    use notify::event::ModifyKind;

    use super::*;

    #[test]
    fn only_changes_of_the_file_and_swaps_concern_us() {
        let places = Places::of(Path::new("/nowhere/orders.json"));
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        assert!(places.concern(&event(EventKind::Modify(ModifyKind::Any), "/nowhere/orders.json")));
        assert!(places.concern(&event(EventKind::Create(CreateKind::Any), "/nowhere/..data")));
        assert!(places.concern(&event(EventKind::Any, "/nowhere")));
        assert!(places.concern(&event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/nowhere/orders.json")));
        assert!(places.concern(&Event::new(EventKind::Any)));
        assert!(!places.concern(&event(EventKind::Modify(ModifyKind::Any), "/nowhere/other.json")));
        assert!(!places.concern(&event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/nowhere/orders.json")));
    }
}
