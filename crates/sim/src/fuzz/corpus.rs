//! The inputs that are kept: one file each, in a folder for each target.

use std::path::PathBuf;

use anyhow::Context;

use super::targets::{Target, fingerprint};

/// The folder of a target.
fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// All inputs of a target, in the order of their names.
pub(super) fn load(target: &Target) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = folder(target);
    let read = || -> std::io::Result<Vec<Vec<u8>>> {
        let mut paths = std::fs::read_dir(&folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        paths.into_iter().map(std::fs::read).collect()
    };
    read().with_context(|| format!("cannot read the corpus in {}", folder.display()))
}

/// Keeps an input that a target could not bear. Says where.
pub(super) fn keep(target: &Target, input: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder(target).join(format!("found-{:016x}", fingerprint(input)));
    std::fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
