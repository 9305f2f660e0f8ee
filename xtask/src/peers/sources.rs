//! What a peer is built from, as a number.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};
use crate::workspace;

/// Of files and whole directories (but `target`), by path and content, and of a number beside them. The same on every machine and with every
/// compiler, which the standard library's hash does not promise: FNV-1a.
pub(super) fn hash(recipe: u32, sources: &[&str]) -> Result<u64> {
    hash_below(workspace::root(), recipe, sources)
}

fn hash_below(root: &Path, recipe: u32, sources: &[&str]) -> Result<u64> {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.add(&recipe.to_le_bytes());
    let mut files = Vec::new();
    for source in sources {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    for file in files {
        let content = fs::read(&file).context(file.display())?;
        hash.add(file.strip_prefix(root).unwrap_or(&file).to_string_lossy().as_bytes());
        hash.add(&content.len().to_le_bytes());
        hash.add(&content);
    }
    Ok(hash.0)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).context(path.display())? {
        let entry = entry.context(path.display())?;
        if entry.file_name() != "target" {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_with_the_recipe_a_name_and_a_byte() {
        let root = std::env::temp_dir().join(format!("xtask-sources-{}", std::process::id()));
        fs::create_dir_all(root.join("p/target")).unwrap();
        fs::write(root.join("p/a"), "one").unwrap();
        let hash = |recipe| hash_below(&root, recipe, &["p"]).unwrap();
        let first = hash(1);
        assert_ne!(first, hash(2));
        fs::write(root.join("p/target/built"), "").unwrap();
        assert_eq!(first, hash(1));
        fs::write(root.join("p/a"), "two").unwrap();
        let second = hash(1);
        fs::rename(root.join("p/a"), root.join("p/b")).unwrap();
        assert!(first != second && second != hash(1));
        assert!(hash_below(&root, 1, &["q"]).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
