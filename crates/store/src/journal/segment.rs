//! One file of the journal: reading payloads out of it, and walking its records.
//!
//! A [`Segment`] is shared by whoever reads; as long as one reader holds it, its file is not reused.
//! [`Walk`] goes through the records from the front and stops at the first thing that is not the
//! record that must come next. What that means (the clean end, a torn tail, corruption) is not
//! decided here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::{
    BadHeader, FIRST_RECORD, Kind, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader,
    claimed_length, own, record_bytes,
};
use super::{DIRECTORY, Home};
use crate::disk::{File, Open, read_whole};
use crate::{Error, FORMAT_VERSION};

/// How much of a segment is read ahead of the walk.
const WINDOW: usize = 1 << 20;

/// A record as it lies in the journal.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The segment it lies in.
    pub segment: u32,
    /// Where its facts begin in the segment's file, in bytes.
    pub offset_of_facts: u32,
    /// The sequence of its first fact.
    pub first_seq: u64,
    /// How many facts it holds.
    pub count: u32,
    /// The journal time it was written at, in ms since 1970.
    pub time_ms: u64,
    /// The highest sequence known to be synced when it was written.
    pub durable_seq: u64,
    /// What it is for.
    pub kind: Kind,
    /// The facts, in the engine's encoding.
    pub facts: &'a [u8],
}

/// A segment of the journal, open for reading from any thread.
pub struct Segment {
    home: Home,
    number: u32,
    length: u64,
    file: Arc<dyn File>,
    sealed: AtomicBool,
}

impl Segment {
    pub(super) fn new(home: Home, number: u32, length: u64, file: Arc<dyn File>) -> Segment {
        Segment { home, number, length, file, sealed: AtomicBool::new(false) }
    }

    /// Opens a segment that is there and checks that it is the one its name says.
    pub(super) fn open(home: &Home, number: u32) -> Result<(Segment, SegmentHeader, u32), Error> {
        let name = segment_name(number);
        let file = home
            .disk
            .open(&name, Open::Existing)
            .map_err(|source| home.fault("open a journal segment", &name, source))?;
        let corrupt = |detail: &str| home.corrupt(&name, 0, detail.to_owned());
        let (header, crc) = match read_header(home, &name, file.as_ref())? {
            Ok(read) => read,
            Err(BadHeader::Damaged) => return Err(corrupt("the segment header is damaged")),
            Err(BadHeader::Newer(found)) => {
                let file = home.disk.shown(&name);
                return Err(Error::NewerFormat { file, found, known: FORMAT_VERSION });
            }
        };
        let length =
            file.length().map_err(|source| home.fault("measure a segment", &name, source))?;
        if header.number != u64::from(number) {
            return Err(corrupt("the segment says it is another one"));
        }
        if header.directory != home.directory_id {
            return Err(corrupt("the segment belongs to another data directory"));
        }
        if length < header.length {
            return Err(corrupt("the segment's file has been cut"));
        }
        Ok((Segment::new(home.clone(), number, header.length, file), header, crc))
    }

    /// Its number; segments are numbered in the order they were begun.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// True once it is full and everything in it is known to be on the disk.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(super) fn set_sealed(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The name of its file, from the disk's root.
    pub fn name(&self) -> String {
        segment_name(self.number)
    }

    /// Reads `buffer` from `offset`, `needed` bytes of it at least: fewer are [`Error::Corrupt`], and
    /// more are there only if the file goes on. Gives how many were read.
    ///
    /// Only what [`super::Writer::write`] has returned for is there. The bytes are as the disk gives
    /// them: the caller checks them, by a checksum kept with them.
    pub fn read(&self, offset: u32, buffer: &mut [u8], needed: usize) -> Result<usize, Error> {
        let read = read_whole(self.file.as_ref(), buffer, u64::from(offset))
            .map_err(|source| self.home.fault("read from the journal", &self.name(), source))?;
        if read < needed {
            return Err(self.home.corrupt(
                &self.name(),
                u64::from(offset),
                format!("{needed} bytes should be here, the file has {read}"),
            ));
        }
        Ok(read)
    }

    /// Walks the records of a sealed segment, checking each one again.
    pub fn scan(self: &Arc<Segment>) -> Result<Scan, Error> {
        assert!(self.is_sealed(), "only a sealed segment holds still while it is walked");
        let name = self.name();
        let Ok((header, crc)) = read_header(&self.home, &name, self.file.as_ref())? else {
            let detail = "the segment header is damaged".to_owned();
            return Err(self.home.corrupt(&name, 0, detail));
        };
        Ok(Scan {
            segment: Arc::clone(self),
            walk: Walk::new(&self.file, self.length, &header, crc),
        })
    }
}

/// The records of one sealed segment, oldest first.
pub struct Scan {
    segment: Arc<Segment>,
    walk: Walk,
}

impl Scan {
    /// The next record; `None` after the last one.
    pub fn next_record(&mut self) -> Result<Option<RecordView<'_>>, Error> {
        let segment = &self.segment;
        let home = &segment.home;
        let step = self
            .walk
            .step()
            .map_err(|source| home.fault("read a segment for cleaning", &segment.name(), source))?;
        match step {
            Step::Record => Ok(Some(self.walk.view(segment.number))),
            Step::Seal => Ok(None),
            Step::Bad(why) => {
                Err(home.corrupt(&segment.name(), self.walk.position, why.to_owned()))
            }
        }
    }
}

/// What a walk finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The record that had to come; [`Walk::view`] shows it.
    Record,
    /// The seal: the segment ends here, whole.
    Seal,
    /// Anything else.
    Bad(&'static str),
}

/// A walk through the records of a segment.
pub(super) struct Walk {
    file: Arc<dyn File>,
    incarnation: u64,
    salt: u32,
    length: u64,
    /// Where the next record must begin.
    pub(super) position: u64,
    /// The sequence it must begin with.
    pub(super) next_seq: u64,
    /// The checksum it must link to.
    pub(super) link: u32,
    window: Vec<u8>,
    window_start: u64,
    current: Option<(u64, RecordHeader)>,
    is_first: bool,
}

impl Walk {
    pub(super) fn new(
        file: &Arc<dyn File>,
        length: u64,
        header: &SegmentHeader,
        header_crc: u32,
    ) -> Walk {
        Walk {
            file: Arc::clone(file),
            incarnation: header.incarnation,
            salt: header.salt,
            length,
            position: FIRST_RECORD,
            next_seq: header.first_seq,
            link: header_crc,
            window: Vec::new(),
            window_start: FIRST_RECORD,
            current: None,
            is_first: true,
        }
    }

    /// Goes to the next record. After a seal or anything bad the walk stays where it is.
    pub(super) fn step(&mut self) -> std::io::Result<Step> {
        self.current = None;
        let Some(header) = self.record_at(self.position)? else {
            return Ok(Step::Bad("no whole record is here"));
        };
        if header.link != self.link {
            return Ok(Step::Bad("the record does not follow the one before it"));
        }
        if header.first_seq != self.next_seq {
            return Ok(Step::Bad("the record has another sequence than the next"));
        }
        let Some(kind) = header.kind else {
            self.link = header.crc;
            return Ok(Step::Seal);
        };
        if self.is_first != (kind == Kind::Base) {
            return Ok(Step::Bad("a segment has one base record and it comes first"));
        }
        self.is_first = false;
        self.current = Some((self.position, header));
        self.position += record_bytes(header.length as usize) as u64;
        self.next_seq = header.next_seq();
        self.link = header.crc;
        Ok(Step::Record)
    }

    /// The record [`Walk::step`] has just found.
    pub(super) fn view(&self, segment: u32) -> RecordView<'_> {
        let (at, header) = self.current.expect("called after Step::Record");
        let kind = header.kind.expect("a seal is not a Step::Record");
        let start =
            usize::try_from(at - self.window_start).expect("within the window") + RECORD_HEADER;
        RecordView {
            segment,
            offset_of_facts: offset_of_facts(at),
            first_seq: header.first_seq,
            count: header.count,
            time_ms: header.time_ms,
            durable_seq: header.durable_seq,
            kind,
            facts: &self.window[start..start + header.length as usize],
        }
    }

    /// What can be found behind the place where the walk stopped, wherever it may begin.
    pub(super) fn look_behind(&mut self) -> std::io::Result<Behind> {
        let mut behind = Behind { end: self.position, proven_seq: 0 };
        self.fill(self.position, RECORD_HEADER)?;
        let start = usize::try_from(self.position - self.window_start).expect("within the window");
        if let Some(length) = claimed_length(&self.window[start..], self.incarnation) {
            let claimed = self.position + record_bytes(length as usize) as u64;
            behind.end = claimed.min(self.length);
        } else if let Some(end) = self.end_of_defaced()? {
            behind.end = end;
        }
        let mut at = self.position + 8;
        while at + RECORD_HEADER as u64 <= self.length {
            if let Some(header) = self.record_at(at)? {
                let end = at + record_bytes(header.length as usize) as u64;
                behind.end = behind.end.max(end);
                behind.proven_seq = behind.proven_seq.max(header.durable_seq);
                at = end;
            } else {
                at += 8;
            }
        }
        Ok(behind)
    }

    /// Where the record ends that is here and whole but for its incarnation, which was damaged after
    /// it had been written. No leftover looks so: its checksum started from another salt.
    fn end_of_defaced(&mut self) -> std::io::Result<Option<u64>> {
        let at = self.position;
        if at + RECORD_HEADER as u64 > self.length {
            return Ok(None);
        }
        self.fill(at, RECORD_HEADER)?;
        let start = usize::try_from(at - self.window_start).expect("within the window");
        let mut record = self.window[start..start + RECORD_HEADER].to_vec();
        own(&mut record, self.incarnation);
        let Some(header) = RecordHeader::decode(&record, self.incarnation) else {
            return Ok(None);
        };
        let bytes = record_bytes(header.length as usize);
        if at + bytes as u64 > self.length {
            return Ok(None);
        }
        self.fill(at, bytes)?;
        let start = usize::try_from(at - self.window_start).expect("within the window");
        let Some(found) = self.window.get(start..start + bytes) else { return Ok(None) };
        record.extend_from_slice(&found[RECORD_HEADER..]);
        Ok(header.matches(self.salt, &record).then_some(at + bytes as u64))
    }

    /// The header of the whole and valid record at this place, if there is one.
    fn record_at(&mut self, at: u64) -> std::io::Result<Option<RecordHeader>> {
        if at + RECORD_HEADER as u64 > self.length {
            return Ok(None);
        }
        self.fill(at, RECORD_HEADER)?;
        let start = usize::try_from(at - self.window_start).expect("within the window");
        let Some(header) = RecordHeader::decode(&self.window[start..], self.incarnation) else {
            return Ok(None);
        };
        let bytes = record_bytes(header.length as usize);
        if at + bytes as u64 > self.length {
            return Ok(None);
        }
        self.fill(at, bytes)?;
        let start = usize::try_from(at - self.window_start).expect("within the window");
        let record = self.window.get(start..start + bytes);
        Ok(record.is_some_and(|record| header.matches(self.salt, record)).then_some(header))
    }

    /// Makes the window hold `count` bytes from `at`, or all that the file has.
    fn fill(&mut self, at: u64, count: usize) -> std::io::Result<()> {
        let end = self.window_start + self.window.len() as u64;
        if at >= self.window_start && at + count as u64 <= end {
            return Ok(());
        }
        let wanted = usize::try_from(self.length - at).unwrap_or(usize::MAX);
        self.window.resize(wanted.min(count.max(WINDOW)), 0);
        let read = read_whole(self.file.as_ref(), &mut self.window, at)?;
        self.window.truncate(read);
        self.window_start = at;
        Ok(())
    }
}

/// What lies behind the last good record.
pub(super) struct Behind {
    /// Where the last byte ends that seems to have been written in this use of the segment.
    pub(super) end: u64,
    /// The highest sequence that a whole record back there knew to be synced.
    pub(super) proven_seq: u64,
}

/// Reads and decodes the front of a segment's file.
pub(super) fn read_header(
    home: &Home,
    name: &str,
    file: &dyn File,
) -> Result<Result<(SegmentHeader, u32), BadHeader>, Error> {
    let mut bytes = [0; SEGMENT_HEADER];
    let read = read_whole(file, &mut bytes, 0)
        .map_err(|source| home.fault("read a segment header", name, source))?;
    if read < SEGMENT_HEADER {
        return Ok(Err(BadHeader::Damaged));
    }
    Ok(SegmentHeader::decode(&bytes))
}

/// The file of a segment, from the disk's root.
pub(super) fn segment_name(number: u32) -> String {
    format!("{DIRECTORY}/{number:020}.seg")
}

/// Where the facts of a record that begins at `at` begin.
pub(super) fn offset_of_facts(at: u64) -> u32 {
    u32::try_from(at).expect("a segment is smaller than 4 GiB")
        + u32::try_from(RECORD_HEADER).expect("a small constant")
}
