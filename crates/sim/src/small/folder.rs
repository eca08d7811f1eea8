//! A folder for what cannot live in memory: archives. Gone when nobody needs it any more.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder of its own.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one, in memory where the system has such a place: nothing in it need survive.
    pub(crate) fn new() -> std::io::Result<Folder> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = above.join(format!("duly-small-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where an archive can be.
    pub(crate) fn archive(&self) -> PathBuf {
        self.0.join("archive.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // One that stays is no reason to fail.
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}
