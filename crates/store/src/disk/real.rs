//! A directory of the operating system as a [`Disk`].
//!
//! Plain positioned reads and writes and `fdatasync`. It adds one thing to what the system offers:
//! space that is really reserved (`fallocate`, or written zeros where the file system has none). A
//! disk that is only to be looked at refuses every call that could change something.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::{Disk, File, Held, Open, write_whole};

/// Files under one directory of this machine.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    is_read_only: bool,
}

impl RealDisk {
    /// Takes a directory as root, creating it (and what is above it) if need be. The new name is
    /// synced into its parent.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let root = root.into();
        if !root.is_dir() {
            fs::create_dir_all(&root)?;
            if let Some(parent) = root.canonicalize()?.parent() {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(RealDisk { root, is_read_only: false })
    }

    /// Takes a directory as root to look at it; nothing in it can be changed this way.
    pub fn look_at(root: impl Into<PathBuf>) -> RealDisk {
        RealDisk { root: root.into(), is_read_only: true }
    }

    /// Lets nothing through that would change something.
    fn may_change(&self) -> io::Result<()> {
        if self.is_read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        if how.is_new() {
            self.may_change()?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(!self.is_read_only).create_new(how.is_new());
        if how == Open::NewSecret {
            options.mode(0o600);
        }
        Ok(Arc::new(RealFile(options.open(self.root.join(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.may_change()?;
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.may_change()?;
        fs::remove_file(self.root.join(path))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(directory))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.may_change()?;
        match fs::create_dir(self.root.join(directory)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // Also when it is there: whoever created it may not have lived to sync it.
            _ => self.sync_dir(directory.rsplit_once('/').map_or("", |(parent, _)| parent)),
        }
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.may_change()?;
        fs::File::open(self.root.join(directory))?.sync_all()
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Held>>> {
        let (path, may_change) = (self.root.join(path), !self.is_read_only);
        let mut options = OpenOptions::new();
        options.read(true).write(may_change).create(may_change).truncate(false);
        let file = match options.open(path) {
            // Whoever uses the directory has made the file.
            Err(error) if !may_change && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Box::new(NothingHeld)));
            }
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(HeldFile { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn shown(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// A lock on an open file; the system lets go of it with the descriptor.
struct HeldFile {
    _file: fs::File,
}

impl Held for HeldFile {}

/// The lock of a directory that nobody has used, taken by somebody who only looks.
struct NothingHeld;

impl Held for NothingHeld {}

struct RealFile(fs::File);

impl RealFile {
    /// What `fallocate` means on a file system without it.
    fn fill_with_zeros(&self, length: u64) -> io::Result<()> {
        let zeros = vec![0_u8; 1 << 20];
        let mut offset = self.0.metadata()?.len();
        while offset < length {
            let step = zeros.len().min(usize::try_from(length - offset).unwrap_or(usize::MAX));
            write_whole(self, &zeros[..step], offset)?;
            offset += step as u64;
        }
        Ok(())
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.write_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.fill_with_zeros(length),
            result => Ok(result?),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
