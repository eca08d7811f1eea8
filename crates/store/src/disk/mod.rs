//! The one door to files.
//!
//! Everything the journal does to a disk goes through [`Disk`] and [`File`]: a dozen calls, chosen so
//! that a second implementation can lie about every one of them. [`RealDisk`] is a directory of the
//! operating system; [`MemoryDisk`] keeps what is synced and what is not apart, and loses, tears and
//! flips bytes on demand.
//!
//! Paths are relative to the disk's root, with `/` between their parts. Nothing here buffers, retries
//! or interprets: a failure is handed up as the system gave it.

mod memory;
mod real;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use duly_engine::zoo::{self, Bug};

pub use memory::{Fault, MemoryDisk};
pub use real::RealDisk;

/// How [`Disk::open`] treats the file's existence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must be there.
    Existing,
    /// It must not be there. The new name is durable only after [`Disk::sync_dir`].
    New,
    /// The same, and only its owner may read it.
    NewSecret,
}

impl Open {
    /// Must it not be there?
    pub(crate) fn is_new(self) -> bool {
        self != Open::Existing
    }
}

/// A directory tree that files live in.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing.
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, replacing what had it. One step: a crash leaves the old names or
    /// the new, never a mixture. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. Durable only after [`Disk::sync_dir`].
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// The names of the files in a directory, in no particular order.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;
    /// Creates a directory unless it is there, durably.
    fn create_dir(&self, directory: &str) -> io::Result<()>;
    /// Makes the names in a directory durable. The root is `""`.
    fn sync_dir(&self, directory: &str) -> io::Result<()>;
    /// Takes the lock that this file name stands for, until the result is dropped or the process
    /// ends. `None` when somebody else has it.
    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Held>>>;
    /// What to call this path towards a human.
    fn shown(&self, path: &str) -> PathBuf;
}

/// A lock that is held as long as this lives.
pub trait Held: Send + Sync {}

/// An open file. Reads and writes name their place, so that any thread may use it.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some first part of `bytes` and says how much. Durable only after [`File::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes all bytes written so far durable (`fdatasync`). After a failure nobody knows which of
    /// them are, and asking again proves nothing.
    fn sync(&self) -> io::Result<()>;
    /// Reserves the first `length` bytes, so that writing there cannot run out of space. Bytes never
    /// written read as zero.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
}

/// Writes all of `bytes`, however many calls that takes.
pub(crate) fn write_whole(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.write_at(bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if zoo::bites(Bug::ShortWriteIsWhole) {
            return Ok(());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Fills as much of `buffer` as the file has bytes for, and says how much that was.
pub(crate) fn read_whole(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = file.read_at(&mut buffer[filled..], offset + filled as u64)?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

/// True for the one failure that more space would cure.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
