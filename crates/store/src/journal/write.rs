//! Writing placed records and syncing them.
//!
//! The [`Writer`] puts every record exactly where it was placed, links it to the one before, and
//! writes into it how much was known to be durable at that moment: this is what later tells a torn
//! tail from corruption. A segment is sealed before the next one begins, and only when everything in
//! it is synced.
//!
//! After the first failure it refuses everything. A sync that failed has told the truth once and will
//! not again; only a new process that reads the disk back knows what is there.

use std::io;
use std::sync::Arc;

use duly_engine::zoo::{self, Bug};

use super::Home;
use super::layout::{FIRST_RECORD, RecordHeader, SegmentHeader};
use super::place::{Beginning, Placed};
use super::segment::Segment;
use crate::Error;
use crate::disk::write_whole;

/// More than this is not kept between records.
const SCRATCH_BYTES: usize = 4 << 20;

/// Where the next record goes.
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    pub(super) incarnation: u64,
    pub(super) salt: u32,
}

/// Writes records in the order they were placed. One per journal.
pub struct Writer {
    home: Home,
    tail: Option<Tail>,
    /// A segment whose seal is on the disk, until the base record of the next one is there too.
    sealed: Option<Arc<Segment>>,
    /// The checksum the next record or segment links to.
    link: u32,
    last_time_ms: u64,
    written_seq: u64,
    durable_seq: u64,
    is_dirty: bool,
    has_failed: bool,
    scratch: Vec<u8>,
}

impl Writer {
    /// `last_seq` is the last sequence of a journal that is all on the disk.
    pub(super) fn new(home: Home, tail: Option<Tail>, link: u32, last_seq: u64) -> Writer {
        Writer {
            home,
            tail,
            sealed: None,
            link,
            last_time_ms: 0,
            written_seq: last_seq,
            durable_seq: last_seq,
            is_dirty: false,
            has_failed: false,
            scratch: Vec::new(),
        }
    }

    /// The highest sequence known to be on the disk; 0 when there is none.
    pub fn durable_seq(&self) -> u64 {
        self.durable_seq
    }

    /// Writes a record to its place. It is durable only after [`Writer::sync`], except that the first
    /// record of a new segment finds everything before it synced.
    pub fn write(&mut self, placed: Placed) -> Result<(), Error> {
        self.guard(|writer| writer.put(placed))
    }

    /// Makes everything written durable, and returns the highest sequence that is.
    pub fn sync(&mut self) -> Result<u64, Error> {
        self.guard(Writer::sync_tail)?;
        Ok(self.durable_seq)
    }

    /// Lets nothing through after a failure.
    fn guard(&mut self, work: impl FnOnce(&mut Writer) -> Result<(), Error>) -> Result<(), Error> {
        if self.has_failed {
            let source = io::Error::other("an earlier write or sync has failed");
            return Err(self.home.fault("use the journal", super::DIRECTORY, source));
        }
        let result = work(self);
        self.has_failed = result.is_err();
        result
    }

    fn put(&mut self, placed: Placed) -> Result<(), Error> {
        if let Some(beginning) = placed.beginning {
            self.begin(beginning, Arc::clone(&placed.segment))?;
        }
        let next_seq = self.written_seq + 1;
        assert!(placed.first_seq == next_seq, "records are written in the order they were placed");
        let header = RecordHeader {
            crc: 0,
            length: u32::try_from(placed.facts.len()).expect("facts are limited to 20 MiB"),
            incarnation: 0,
            first_seq: placed.first_seq,
            time_ms: placed.time_ms,
            durable_seq: self.durable_seq,
            count: placed.count,
            link: self.link,
            kind: Some(placed.kind),
        };
        self.append(header, &placed.facts, Some((placed.segment.number(), placed.offset)))?;
        self.written_seq = header.next_seq() - 1;
        self.last_time_ms = placed.time_ms;
        Ok(())
    }

    fn begin(&mut self, beginning: Beginning, segment: Arc<Segment>) -> Result<(), Error> {
        self.seal()?;
        let Beginning { spare, mut header } = beginning;
        spare.stop_zeroing();
        header.previous = self.link;
        self.link = begin_segment(&self.home, &spare.name, &segment, &header)?;
        let name = segment.name();
        self.home
            .disk
            .rename(&spare.name, &name)
            .map_err(|source| self.home.fault("name a journal segment", &name, source))?;
        self.home.sync_names()?;
        self.tail = Some(Tail {
            segment,
            position: FIRST_RECORD,
            incarnation: header.incarnation,
            salt: header.salt,
        });
        Ok(())
    }

    /// Closes the current segment for ever. Its records are synced first, so that a seal that can be
    /// read proves that they are there.
    fn seal(&mut self) -> Result<(), Error> {
        if self.tail.is_none() {
            return Ok(());
        }
        if zoo::bites(Bug::SealNotSynced) {
            self.tail = None;
            return Ok(());
        }
        self.sync_tail()?;
        let seal = RecordHeader {
            crc: 0,
            length: 0,
            incarnation: 0,
            first_seq: self.written_seq + 1,
            time_ms: self.last_time_ms,
            durable_seq: self.durable_seq,
            count: 0,
            link: self.link,
            kind: None,
        };
        self.append(seal, &[], None)?;
        self.sync_tail()?;
        self.sealed = self.tail.take().map(|tail| tail.segment);
        Ok(())
    }

    fn append(
        &mut self,
        mut header: RecordHeader,
        facts: &[u8],
        place: Option<(u32, u64)>,
    ) -> Result<(), Error> {
        let tail = self.tail.as_mut().expect("the first record of a journal begins a segment");
        let here = (tail.segment.number(), tail.position);
        assert!(place.is_none_or(|place| place == here), "a record is written where it was placed");
        header.incarnation = tail.incarnation;
        self.scratch.clear();
        let crc = header.encode(tail.salt, facts, &mut self.scratch);
        self.is_dirty = true;
        write_whole(tail.segment.file().as_ref(), &self.scratch, tail.position).map_err(
            |source| self.home.fault("append to the journal", &tail.segment.name(), source),
        )?;
        tail.position += self.scratch.len() as u64;
        self.link = crc;
        self.scratch.shrink_to(SCRATCH_BYTES);
        Ok(())
    }

    fn sync_tail(&mut self) -> Result<(), Error> {
        if self.is_dirty
            && let Some(tail) = &self.tail
        {
            let mut synced = tail.segment.file().sync();
            if zoo::bites(Bug::SyncRetried) && synced.is_err() {
                synced = tail.segment.file().sync();
            }
            if zoo::bites(Bug::SyncErrorIgnored) {
                synced = Ok(());
            }
            synced.map_err(|source| {
                self.home.fault("sync the journal", &tail.segment.name(), source)
            })?;
        }
        // The first sync after a seal is that of the next segment's base record.
        if let Some(sealed) = self.sealed.take() {
            sealed.set_sealed();
        }
        self.is_dirty = false;
        self.durable_seq = self.written_seq;
        Ok(())
    }
}

/// Writes the header of a segment into a file that has no number yet, durably, before any record: a
/// numbered file always has a good header, and an incarnation whose records exist can be read.
pub(super) fn begin_segment(
    home: &Home,
    spare_name: &str,
    segment: &Segment,
    header: &SegmentHeader,
) -> Result<u32, Error> {
    let (bytes, crc) = header.encode();
    let file = segment.file().as_ref();
    write_whole(file, &bytes, 0)
        .and_then(|()| file.sync())
        .map_err(|source| home.fault("begin a journal segment", spare_name, source))?;
    Ok(crc)
}
