//! A small journal user: it places, writes and syncs numbered facts, remembers what it was told is
//! durable, and checks what a replay gives back.

use std::sync::Arc;

use duly_store::disk::{Disk, MemoryDisk};
use duly_store::journal::{self, Journal, Kind, Options, RecordView, Report};
use duly_store::{Directory, Error, FreshIdentity};

pub(crate) const IDENTITY: FreshIdentity = FreshIdentity { id: *b"clerk-01", hash_seed: [7; 16] };

/// Small segments, so that every test crosses several.
pub(crate) const SMALL: Options = Options { segment_bytes: 16 << 10, reserve: 2 };

/// A record as it was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) segment: u32,
    pub(crate) offset_of_facts: u32,
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
    pub(crate) time_ms: u64,
    pub(crate) kind: Kind,
    pub(crate) facts: Vec<u8>,
}

impl Seen {
    pub(crate) fn of(record: &RecordView<'_>) -> Seen {
        Seen {
            segment: record.segment,
            offset_of_facts: record.offset_of_facts,
            first_seq: record.first_seq,
            count: record.count,
            time_ms: record.time_ms,
            kind: record.kind,
            facts: record.facts.to_vec(),
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }
}

/// An open journal with everything that was replayed into it or written through it.
pub(crate) struct Clerk {
    // Dropped last: the lock outlives the journal's parts.
    pub(crate) journal: Journal,
    pub(crate) records: Vec<Seen>,
    pub(crate) report: Report,
    _directory: Directory,
}

impl Clerk {
    pub(crate) fn open(disk: &MemoryDisk) -> Result<Clerk, Error> {
        Clerk::open_on(Arc::new(disk.clone()), SMALL)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Clerk, Error> {
        let directory = Directory::open(disk, IDENTITY)?;
        let mut records = Vec::new();
        let journal = journal::open(&directory, options, &mut |record| {
            records.push(Seen::of(&record));
            Ok(())
        })?;
        let report = journal.report.clone();
        Ok(Clerk { journal, records, report, _directory: directory })
    }

    /// Writes one record of so many bytes of facts, beginning a segment first if need be.
    pub(crate) fn write(&mut self, length: usize) -> Result<(), Error> {
        if self.journal.placer.needs_roll(length) {
            while self.journal.placer.roll().is_err() {
                self.journal.allocator.tick()?;
            }
            self.put(Kind::Base, 24)?;
        }
        self.put(Kind::Facts, length)
    }

    /// Writes one record of these facts into the current segment.
    pub(crate) fn write_facts(&mut self, facts: Vec<u8>) -> Result<(), Error> {
        self.put_facts(Kind::Facts, facts)
    }

    pub(crate) fn sync(&mut self) -> Result<u64, Error> {
        self.journal.writer.sync()
    }

    fn put(&mut self, kind: Kind, length: usize) -> Result<(), Error> {
        let facts = facts(self.journal.placer.next_seq(), length);
        self.put_facts(kind, facts)
    }

    fn put_facts(&mut self, kind: Kind, facts: Vec<u8>) -> Result<(), Error> {
        let first_seq = self.journal.placer.next_seq();
        let count = u32::try_from(first_seq % 3 + 1).expect("a small number");
        let time_ms = 1_000_000 + first_seq;
        let placed = self.journal.placer.place(kind, first_seq, count, time_ms, facts.clone());
        self.records.push(Seen {
            segment: placed.segment(),
            offset_of_facts: placed.offset_of_facts(),
            first_seq,
            count,
            time_ms,
            kind,
            facts,
        });
        self.journal.writer.write(placed)
    }
}

/// Bytes that depend on the sequence, so that no record looks like another.
pub(crate) fn facts(seq: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (seq.wrapping_mul(31).wrapping_add(at * 7) % 251) as u8).collect()
}
