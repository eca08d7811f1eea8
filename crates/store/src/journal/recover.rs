//! Opening a journal: replay, and the judgement of what does not replay.
//!
//! A record that is not good is one of two things. If anything proves that it once was on the disk (its
//! segment is sealed, a later segment exists, or a later record of the same use of the segment knew it
//! to be synced), it is corruption, and the server must not start. Otherwise it was being written when
//! the power went, nobody was told about it, and it is cut and reported.
//!
//! What follows the last seal is then written again into a fresh file and synced, before anybody is
//! served: after a failed sync the system's cache can show bytes that the disk never got. The copy
//! takes the old file's name in one step, so that a crash during recovery only means to recover again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use duly_engine::zoo::{self, Bug};

use super::allocate::{Allocator, Pool, Progress, Spare, reserve_file, spare_name};
use super::layout::{FIRST_RECORD, RecordHeader, SegmentHeader, record_bytes};
use super::place::{Occupied, Placer, Start};
use super::segment::{Segment, Step, Walk, read_header};
use super::write::{Tail, Writer, begin_segment};
use super::{DIRECTORY, Home, Journal, Options, RecordView, ReplayFault, Report, Torn};
use crate::Error;
use crate::disk::{File, Open, write_whole};

/// How many bytes of the copied tail are written at once.
const COPY_BYTES: usize = 1 << 20;

type Replay<'a> = dyn FnMut(RecordView<'_>) -> Result<(), ReplayFault> + 'a;

pub(super) fn recover(
    home: Home,
    options: Options,
    replay: &mut Replay<'_>,
) -> Result<Journal, Error> {
    let mut recovery = Recovery::find_files(home, options)?;
    recovery.read_segments(replay)?;
    recovery.settle_tail()?;
    recovery.finish()
}

struct Recovery {
    home: Home,
    options: Options,
    numbers: Vec<u32>,
    spares: VecDeque<Spare>,
    next_spare: u64,
    /// The highest in any header, also of spares: their records still lie there.
    incarnation: u64,
    segments: VecDeque<Occupied>,
    last: Option<Last>,
    next_seq: u64,
    link: u32,
    tail: Option<Tail>,
    report: Report,
}

/// The segment that may have a torn tail.
struct Last {
    segment: Segment,
    header: SegmentHeader,
    header_crc: u32,
    /// Where its good records end.
    end: u64,
}

impl Recovery {
    /// Sorts the journal's files. A spare that is not exactly one is removed: nothing in it counts.
    fn find_files(home: Home, options: Options) -> Result<Recovery, Error> {
        let names = home
            .disk
            .list(DIRECTORY)
            .map_err(|source| home.fault("list the journal", DIRECTORY, source))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number(name, "seg")).collect();
        numbers.sort_unstable();
        let mut spare_numbers: Vec<u64> =
            names.iter().filter_map(|name| number(name, "spare")).collect();
        spare_numbers.sort_unstable();
        let mut recovery = Recovery {
            home,
            options,
            numbers,
            spares: VecDeque::new(),
            next_spare: spare_numbers.last().map_or(1, |last| last + 1),
            incarnation: 0,
            segments: VecDeque::new(),
            last: None,
            next_seq: 1,
            link: 0,
            tail: None,
            report: Report::default(),
        };
        for number in spare_numbers {
            recovery.look_at_spare(&spare_name(number))?;
        }
        Ok(recovery)
    }

    fn look_at_spare(&mut self, name: &str) -> Result<(), Error> {
        let fault = |source| self.home.fault("look at a spare segment", name, source);
        let file = self.home.disk.open(name, Open::Existing).map_err(fault)?;
        let length = file.length().map_err(fault)?;
        let header = read_header(&self.home, name, file.as_ref())?;
        if let Ok((header, _)) = header {
            self.incarnation = self.incarnation.max(header.incarnation);
        }
        let spare = match header {
            _ if length != self.options.segment_bytes => None,
            Ok(_) => Some(Spare::used_before(name.to_owned(), file)),
            Err(_) => Spare::never_used(name.to_owned(), file).map_err(fault)?,
        };
        match spare {
            Some(spare) => self.spares.push_back(spare),
            None => self.home.disk.unlink(name).map_err(fault)?,
        }
        Ok(())
    }

    fn read_segments(&mut self, replay: &mut Replay<'_>) -> Result<(), Error> {
        let numbers = std::mem::take(&mut self.numbers);
        for (index, &number) in numbers.iter().enumerate() {
            let (segment, header, header_crc) = Segment::open(&self.home, number)?;
            let name = segment.name();
            self.incarnation = self.incarnation.max(header.incarnation);
            if index == 0 {
                self.next_seq = header.first_seq;
                self.link = header.previous;
            } else if numbers[index - 1] + 1 != number {
                let detail = format!("the segment before it, {}, is missing", number - 1);
                return Err(self.home.corrupt(&name, 0, detail));
            }
            if (header.first_seq, header.previous) != (self.next_seq, self.link) {
                let detail = "the segment does not follow the one before it".to_owned();
                return Err(self.home.corrupt(&name, 0, detail));
            }
            let mut walk = Walk::new(segment.file(), segment.length(), &header, header_crc);
            let step = self.replay_segment(&segment, &mut walk, replay)?;
            let is_last = index + 1 == numbers.len();
            match step {
                Step::Bad(why) if !is_last => {
                    let detail = format!("{why}, in a segment that was complete");
                    return Err(self.home.corrupt(&name, walk.position, detail));
                }
                Step::Bad(why) => self.judge_tail(&name, &mut walk, why)?,
                Step::Seal | Step::Record => {}
            }
            self.next_seq = walk.next_seq;
            self.link = walk.link;
            if is_last {
                self.last = Some(Last { segment, header, header_crc, end: walk.position });
            } else {
                segment.set_sealed();
                self.keep(segment, &header, walk.position);
            }
        }
        Ok(())
    }

    /// Replays up to the first step that is not a record, and returns that step.
    fn replay_segment(
        &mut self,
        segment: &Segment,
        walk: &mut Walk,
        replay: &mut Replay<'_>,
    ) -> Result<Step, Error> {
        loop {
            let at = walk.position;
            let step = walk
                .step()
                .map_err(|source| self.home.fault("read the journal", &segment.name(), source))?;
            if step != Step::Record {
                return Ok(step);
            }
            let record = walk.view(segment.number());
            self.report.records += 1;
            self.report.facts += u64::from(record.count);
            self.report.bytes += record.facts.len() as u64;
            self.report.last_time_ms = Some(record.time_ms);
            replay(record)
                .map_err(|ReplayFault(detail)| self.home.corrupt(&segment.name(), at, detail))?;
        }
    }

    /// Decides what a bad record at the end of the journal is.
    fn judge_tail(&mut self, name: &str, walk: &mut Walk, why: &str) -> Result<(), Error> {
        let offset = walk.position;
        let behind = walk
            .look_behind()
            .map_err(|source| self.home.fault("read the journal's tail", name, source))?;
        let is_alone = self.segments.is_empty() && offset == FIRST_RECORD && walk.next_seq > 1;
        let is_proven = behind.proven_seq >= walk.next_seq || is_alone;
        if is_proven && !zoo::bites(Bug::CorruptionCut) {
            let detail = format!("{why}, but sequence {} was synced once", walk.next_seq);
            return Err(self.home.corrupt(name, offset, detail));
        }
        if behind.end > offset {
            let file: PathBuf = self.home.disk.shown(name);
            self.report.torn = Some(Torn { file, offset, bytes: behind.end - offset });
        }
        Ok(())
    }

    fn keep(&mut self, segment: Segment, header: &SegmentHeader, used: u64) {
        self.segments.push_back(Occupied {
            segment: Arc::new(segment),
            used,
            first_seq: header.first_seq,
            next_seq: self.next_seq,
        });
    }

    /// Writes the last segment again, or makes it a spare if it never got its first record.
    fn settle_tail(&mut self) -> Result<(), Error> {
        let Some(last) = self.last.take() else { return Ok(()) };
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
        self.keep(copy, &header, last.end);
        let segment = &self.segments.back().expect("just kept").segment;
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
        self.keep(segment, &header, end);
        self.tail = Some(Tail {
            segment: Arc::clone(&self.segments.back().expect("just kept").segment),
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
        let Recovery { home, options, mut report, .. } = self;
        report.segments = self.segments.len();
        report.next_seq = self.next_seq;
        let newest = self.segments.back().map(|newest| newest.segment.number());
        let start = Start {
            has_current: self.tail.is_some(),
            segments: self.segments,
            next_number: newest.map_or(1, |newest| newest + 1),
            next_incarnation: self.incarnation + 1,
            next_seq: self.next_seq,
        };
        let pool = Arc::new(Pool::new(options.segment_bytes, self.spares));
        let mut allocator =
            Allocator::new(home.clone(), Arc::clone(&pool), options.reserve, self.next_spare);
        while allocator.reserve_one()? == Progress::Worked {}
        let writer = Writer::new(home.clone(), self.tail, self.link, self.next_seq - 1);
        Ok(Journal { placer: Placer::new(home, pool, start), writer, allocator, report })
    }
}

/// The number in a file name of twenty digits and this extension.
fn number<N: std::str::FromStr>(name: &str, extension: &str) -> Option<N> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}
