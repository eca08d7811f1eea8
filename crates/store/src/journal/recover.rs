//! Opening a journal: what was read is made safe, and becomes a journal to go on with.
//!
//! What follows the last seal is then written again into a fresh file and synced, before anybody is
//! served: after a failed sync the system's cache can show bytes that the disk never got. The copy
//! takes the old file's name in one step, so that a crash during recovery only means to recover again.

use std::collections::VecDeque;
use std::sync::Arc;

use duly_engine::zoo::{self, Bug};

use super::allocate::{Allocator, Pool, Progress, Spare, reserve_file, spare_name};
use super::layout::{BadHeader, FIRST_RECORD, RecordHeader, SegmentHeader, record_bytes};
use super::place::{Placer, Start};
use super::reading::{Last, Reading, Replay, numbers};
use super::segment::{Segment, Step, Walk, read_header};
use super::write::{Tail, Writer, begin_segment};
use super::{DIRECTORY, Home, Journal, Options};
use crate::disk::{File, Open, write_whole};
use crate::{Error, FORMAT_VERSION};

/// How many bytes of the copied tail are written at once.
const COPY_BYTES: usize = 1 << 20;

pub(super) fn recover(
    home: Home,
    options: Options,
    replay: &mut Replay<'_>,
) -> Result<Journal, Error> {
    let (segments, spares) = numbers(&home)?;
    let mut reading = Reading::new(home.clone(), segments);
    // What cannot be read leaves every file as it is, the spares too.
    reading.read(replay)?;
    let mut recovery = Recovery {
        home,
        options,
        incarnation: reading.incarnation,
        link: reading.next().link,
        reading,
        spares: VecDeque::new(),
        next_spare: spares.last().map_or(1, |last| last + 1),
        tail: None,
    };
    for number in spares {
        recovery.look_at_spare(&spare_name(number))?;
    }
    recovery.settle_tail()?;
    recovery.finish()
}

struct Recovery {
    home: Home,
    options: Options,
    reading: Reading,
    spares: VecDeque<Spare>,
    next_spare: u64,
    /// The highest in any header, also of spares: their records still lie there.
    incarnation: u64,
    /// The checksum the next record links to.
    link: u32,
    tail: Option<Tail>,
}

impl Recovery {
    /// Takes a spare over. One that is not exactly one is removed: nothing in it counts.
    fn look_at_spare(&mut self, name: &str) -> Result<(), Error> {
        let fault = |source| self.home.fault("look at a spare segment", name, source);
        let file = self.home.disk.open(name, Open::Existing).map_err(fault)?;
        let length = file.length().map_err(fault)?;
        let header = read_header(&self.home, name, file.as_ref())?;
        if let Ok((header, _)) = header {
            self.incarnation = self.incarnation.max(header.incarnation);
        }
        let spare = match header {
            Err(BadHeader::Newer(found)) => {
                let file = self.home.disk.shown(name);
                return Err(Error::NewerFormat { file, found, known: FORMAT_VERSION });
            }
            _ if length != self.options.segment_bytes => None,
            Ok(_) => Some(Spare::used_before(name.to_owned(), file)),
            Err(BadHeader::Damaged) => Spare::never_used(name.to_owned(), file).map_err(fault)?,
        };
        match spare {
            Some(spare) => self.spares.push_back(spare),
            None => self.home.disk.unlink(name).map_err(fault)?,
        }
        Ok(())
    }

    /// Writes the last segment again, or makes it a spare if it never got its first record.
    fn settle_tail(&mut self) -> Result<(), Error> {
        let Some(last) = self.reading.last.take() else { return Ok(()) };
        if last.end == FIRST_RECORD {
            self.link = last.header.previous;
            return self.give_up(&last.segment);
        }
        if zoo::bites(Bug::TailNotRewritten) {
            self.keep_tail(last);
            return Ok(());
        }
        let (name, file) = self.file_for_copy(last.segment.length())?;
        let number = last.segment.number();
        self.incarnation += 1;
        let copy = Segment::new(self.home.clone(), number, last.segment.length(), file);
        let salt = SegmentHeader::salt(self.home.hash_seed, u64::from(number), self.incarnation);
        let header = SegmentHeader { salt, incarnation: self.incarnation, ..last.header };
        let crc = begin_segment(&self.home, &name, &copy, &header)?;
        self.link = self.copy_records(&last, &copy, &header, crc)?;
        self.home
            .disk
            .rename(&name, &copy.name())
            .map_err(|source| self.home.fault("name a journal segment", &name, source))?;
        self.home.sync_names()?;
        self.reading.keep(copy, &header, last.end);
        let segment = &self.reading.segments.back().expect("just kept").segment;
        self.tail = Some(Tail {
            segment: Arc::clone(segment),
            position: last.end,
            incarnation: header.incarnation,
            salt,
        });
        Ok(())
    }

    /// Goes on in the last segment as it is, which only a bug would do.
    fn keep_tail(&mut self, last: Last) {
        let Last { segment, header, end, .. } = last;
        self.reading.keep(segment, &header, end);
        self.tail = Some(Tail {
            segment: Arc::clone(&self.reading.segments.back().expect("just kept").segment),
            position: end,
            incarnation: header.incarnation,
            salt: header.salt,
        });
    }

    /// Makes a segment without records a spare again.
    fn give_up(&mut self, segment: &Segment) -> Result<(), Error> {
        let from = segment.name();
        let fault = |source| self.home.fault("recycle a journal segment", &from, source);
        if segment.length() == self.options.segment_bytes {
            let to = spare_name(self.next_spare);
            self.next_spare += 1;
            self.home.disk.rename(&from, &to).map_err(fault)?;
            self.spares.push_back(Spare::used_before(to, Arc::clone(segment.file())));
        } else {
            self.home.disk.unlink(&from).map_err(fault)?;
        }
        self.home.sync_names()
    }

    fn file_for_copy(&mut self, length: u64) -> Result<(String, Arc<dyn File>), Error> {
        if length == self.options.segment_bytes
            && let Some(spare) = self.spares.pop_front()
        {
            return Ok((spare.name, spare.file));
        }
        let name = spare_name(self.next_spare);
        self.next_spare += 1;
        let file = reserve_file(&self.home, &name, length)?.ok_or_else(|| Error::Full {
            path: self.home.disk.shown(DIRECTORY),
            wanted: Some(length),
        })?;
        Ok((name, file))
    }

    /// Writes every good record of the last segment into its copy, at the same place, and syncs.
    fn copy_records(
        &self,
        last: &Last,
        copy: &Segment,
        header: &SegmentHeader,
        mut link: u32,
    ) -> Result<u32, Error> {
        let fault =
            |source| self.home.fault("write the journal's tail again", &copy.name(), source);
        let mut walk =
            Walk::new(last.segment.file(), last.segment.length(), &last.header, last.header_crc);
        let mut out = Vec::with_capacity(COPY_BYTES);
        let mut offset = FIRST_RECORD;
        while walk.position < last.end {
            let at = walk.position;
            if walk.step().map_err(fault)? != Step::Record {
                let detail = "the record was good a moment ago".to_owned();
                return Err(self.home.corrupt(&last.segment.name(), at, detail));
            }
            let record = walk.view(copy.number());
            let copied = RecordHeader {
                crc: 0,
                length: u32::try_from(record.facts.len()).expect("it came from 32 bits"),
                incarnation: header.incarnation,
                first_seq: record.first_seq,
                time_ms: record.time_ms,
                durable_seq: record.durable_seq,
                count: record.count,
                link,
                kind: Some(record.kind),
            };
            link = copied.encode(header.salt, record.facts, &mut out);
            debug_assert_eq!(at + record_bytes(record.facts.len()) as u64, walk.position);
            if out.len() >= COPY_BYTES || walk.position == last.end {
                write_whole(copy.file().as_ref(), &out, offset).map_err(fault)?;
                offset += out.len() as u64;
                out.clear();
            }
        }
        copy.file().sync().map_err(fault)?;
        Ok(link)
    }

    fn finish(self) -> Result<Journal, Error> {
        let Recovery { home, options, .. } = self;
        let next_seq = self.reading.next().seq;
        let Reading { segments, mut report, .. } = self.reading;
        report.segments = segments.len();
        report.next_seq = next_seq;
        let newest = segments.back().map(|newest| newest.segment.number());
        let start = Start {
            has_current: self.tail.is_some(),
            segments,
            next_number: newest.map_or(1, |newest| newest + 1),
            next_incarnation: self.incarnation + 1,
            next_seq,
        };
        let pool = Arc::new(Pool::new(options.segment_bytes, self.spares));
        let mut allocator =
            Allocator::new(home.clone(), Arc::clone(&pool), options.reserve, self.next_spare);
        while allocator.reserve_one()? == Progress::Worked {}
        let writer = Writer::new(home.clone(), self.tail, self.link, next_seq - 1);
        Ok(Journal { placer: Placer::new(home, pool, start), writer, allocator, report })
    }
}
