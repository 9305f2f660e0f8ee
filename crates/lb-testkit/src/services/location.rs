//! Where fetched servers lie, for those who fetch them (`xtask`, which includes this file) and those who start them (the handles here).
//!
//! A server is there when its directory is: the fetch builds it elsewhere, tries it, and renames it into place as its last act.

use std::path::PathBuf;

/// Raised whenever a recipe changes what lies in a server's directory, so that an older fetch is not mistaken for it.
fn recipe(service: &str) -> u32 {
    match service {
        // The first did not serve ConfigMaps.
        "kubeapi" => 2,
        _ => 1,
    }
}

/// The directory of everything this project caches for its user: `$XDG_CACHE_HOME/evenkeel`, by default `~/.cache/evenkeel`, and
/// the temporary directory for a user without a home.
pub(crate) fn cache() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("evenkeel")
}

/// The directory under which each fetched server has its own.
pub(crate) fn services() -> PathBuf {
    cache().join("services")
}

/// Where the named server's files belong, whether or not they are there.
pub(crate) fn place(service: &str) -> PathBuf {
    services().join(format!("{service}-{}", recipe(service)))
}

/// Where the named server's files are, if they were fetched.
pub(crate) fn installed(service: &str) -> Option<PathBuf> {
    Some(place(service)).filter(|path| path.is_dir())
}
