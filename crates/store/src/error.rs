//! What can go wrong between Duly and its disk.
//!
//! Every variant is a local fault: it says that this process cannot go on with this directory, not
//! that a request was wrong. There are few of them because there are few reactions: give up and
//! report, or (for [`Error::Full`] while space is being reserved) wait. None is ever retried by the
//! store: after a failed sync nobody knows what the disk holds, and only a fresh recovery finds out.

use std::path::PathBuf;
use std::{fmt, io};

/// A fault of the store. [`Error::exit_status`] says how the process should end.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused. On the write path the journal is poisoned from here on.
    /// Exit status 74.
    Io {
        /// What was being done, as a phrase: "append to the journal".
        what: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The system's own reason.
        source: io::Error,
    },
    /// Bytes that were once safely on the disk are not what was written. Nothing is cut, nothing is
    /// guessed: a backup or a peer has to repair it. Exit status 65.
    Corrupt {
        /// The file that is wrong.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What was expected there and what was found.
        detail: String,
    },
    /// Another process holds this data directory (exit status 75), or writes into the archive, which
    /// then has changed nothing and may try again.
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// A newer version of Duly wrote this directory. Exit status 65.
    NewerFormat {
        /// The file that says so.
        file: PathBuf,
        /// The format version found.
        found: u32,
        /// The newest one this build can read.
        known: u32,
    },
    /// There is no room: for what recovery itself must write (exit status 74), or for the archive,
    /// which then has changed nothing and may try again.
    Full {
        /// What is full.
        path: PathBuf,
        /// How many bytes were asked for, if that is known.
        wanted: Option<u64>,
    },
}

impl Error {
    /// The status a process that meets this fault ends with, as in `sysexits.h`: 65 the data is
    /// wrong, 74 the disk failed, 75 try again when the other process is gone.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Corrupt { .. } | Error::NewerFormat { .. } => 65,
            Error::Io { .. } | Error::Full { .. } => 74,
            Error::Locked { .. } => 75,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { what, path, source } => {
                write!(f, "cannot {what}: {}: {source}", path.display())
            }
            Error::Corrupt { file, offset, detail } => {
                write!(f, "{} is corrupt at byte {offset}: {detail}", file.display())
            }
            Error::Locked { path } => {
                write!(f, "another process is using {}", path.display())
            }
            Error::NewerFormat { file, found, known } => write!(
                f,
                "{} has format {found}, and this version of Duly reads up to {known}",
                file.display()
            ),
            Error::Full { path, wanted: None } => {
                write!(f, "the disk is full: {}", path.display())
            }
            Error::Full { path, wanted: Some(bytes) } => {
                write!(f, "the disk is full: no room for {bytes} bytes in {}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
