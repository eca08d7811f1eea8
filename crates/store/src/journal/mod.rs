//! The journal: the facts of every step, in order, on the disk before anybody is told.
//!
//! It is a row of numbered segments, each a reserved file of fixed length. Records are only ever
//! appended; whole segments are freed from the old end and their files used again. What the facts
//! mean is not known here: they are bytes with a sequence.
//!
//! Three parts with three owners. The [`Placer`] belongs to whoever makes the records and says at once
//! where their bytes will lie. The [`Writer`] belongs to the thread that writes and syncs them, in
//! the order they were placed; after one failure it never writes again. The [`Allocator`] keeps
//! reserved files ready ahead of need, and is the only one for whom a full disk is not a fault.
//!
//! Nothing here retries, guesses or repairs. [`open`] replays everything and refuses a journal that
//! has lost anything it once promised to keep.

mod allocate;
mod layout;
mod place;
mod reading;
mod recover;
mod segment;
mod write;

use std::io;
use std::sync::Arc;

use duly_engine::zoo::{self, Bug};

use crate::disk::Disk;
use crate::{Directory, Error};

pub use allocate::{Allocator, Progress};
pub use layout::Kind;
pub use place::{NoSpare, Placed, Placer, SegmentInfo, largest_facts};
pub use segment::{RecordView, Scan, Segment};
pub use write::Writer;

/// Where the segments are, from the disk's root.
pub(crate) const DIRECTORY: &str = "journal";

/// The largest facts of one record, in bytes.
pub const MAX_FACTS_BYTES: usize = 20 << 20;

/// The smallest segment. Useful ones are a thousand times as large; this is for tests.
pub const MIN_SEGMENT_BYTES: u64 = 16 << 10;

/// The largest segment: places in it are 32-bit numbers.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// How large the journal's files are and how many wait.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The length of new segments. Segments of another length that are already there stay readable.
    pub segment_bytes: u64,
    /// How many reserved files the allocator keeps ready for the placer. One more is kept for
    /// recovery, which must be able to write on a full disk.
    pub reserve: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, reserve: 4 }
    }
}

/// An open journal, to be handed to its three owners.
pub struct Journal {
    /// For the thread that makes records.
    pub placer: Placer,
    /// For the thread that writes them.
    pub writer: Writer,
    /// For a thread that may wait for the disk.
    pub allocator: Allocator,
    /// What was found.
    pub report: Report,
}

/// What opening the journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many segments hold records.
    pub segments: usize,
    /// How many records were replayed.
    pub records: u64,
    /// How many facts they hold.
    pub facts: u64,
    /// How many bytes of facts they hold.
    pub bytes: u64,
    /// The sequence the next record must begin with. The first of all is 1.
    pub next_seq: u64,
    /// The time of the last record, if there is one.
    pub last_time_ms: Option<u64>,
    /// The end that was cut because it was never completely written.
    pub torn: Option<Torn>,
}

/// A torn tail: bytes that were being written when the power went, and that nobody was told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub file: std::path::PathBuf,
    /// Where the good part ended.
    pub offset: u64,
    /// How many bytes behind it seem to have been written.
    pub bytes: u64,
}

/// Whoever replays a record found that its facts cannot be right. Opening ends with
/// [`Error::Corrupt`] at that record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayFault(pub String);

/// Opens the journal of a directory and replays every record in it, oldest first.
///
/// When this returns, everything replayed is on the disk, also what an earlier process wrote without
/// living to see it synced: the unsealed end has been written again into a fresh file.
///
/// The directory must stay locked as long as any part of the journal is used.
pub fn open(
    directory: &Directory,
    options: Options,
    replay: &mut dyn FnMut(RecordView<'_>) -> Result<(), ReplayFault>,
) -> Result<Journal, Error> {
    assert!(
        (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&options.segment_bytes),
        "the length of a segment is within its limits"
    );
    let home = Home::of(directory);
    home.disk
        .create_dir(DIRECTORY)
        .map_err(|source| home.fault("create the journal's directory", DIRECTORY, source))?;
    recover::recover(home, options, replay)
}

/// What [`examine`] found.
#[derive(Debug)]
pub struct Examined {
    /// As [`open`] would report it; after a fault only what could be read is counted.
    pub report: Report,
    /// What is wrong, at most one thing in a segment. [`open`] would end with the first.
    pub faults: Vec<Error>,
}

/// Reads the whole journal of a directory and changes nothing. Records are given to `replay`, oldest
/// first, up to the first fault; `progress` is told how many segments of how many are done.
pub fn examine(
    directory: &Directory,
    replay: &mut dyn FnMut(RecordView<'_>) -> Result<(), ReplayFault>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Examined, Error> {
    let home = Home::of(directory);
    let (segments, _) = reading::numbers(&home)?;
    Ok(reading::Reading::new(home, segments).examine(replay, progress))
}

/// What every part needs to know of the directory it works in.
#[derive(Clone)]
struct Home {
    disk: Arc<dyn Disk>,
    directory_id: [u8; 8],
    hash_seed: [u8; 16],
}

impl Home {
    fn of(directory: &Directory) -> Home {
        Home {
            disk: Arc::clone(directory.disk()),
            directory_id: directory.id(),
            hash_seed: directory.hash_seed(),
        }
    }

    fn fault(&self, what: &'static str, path: &str, source: io::Error) -> Error {
        Error::Io { what, path: self.disk.shown(path), source }
    }

    fn corrupt(&self, path: &str, offset: u64, detail: String) -> Error {
        Error::Corrupt { file: self.disk.shown(path), offset, detail }
    }

    fn sync_names(&self) -> Result<(), Error> {
        if zoo::bites(Bug::NamesNotSynced) {
            return Ok(());
        }
        self.disk
            .sync_dir(DIRECTORY)
            .map_err(|source| self.fault("sync the journal's directory", DIRECTORY, source))
    }
}
