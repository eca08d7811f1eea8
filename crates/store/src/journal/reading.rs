//! Reading a journal from its oldest segment, and the judgement of what cannot be read.
//!
//! A record that is not good is one of two things. If anything proves that it once was on the disk (its
//! segment is sealed, a later segment exists, or a later record of the same use of the segment knew it
//! to be synced), it is corruption. Otherwise it was being written when the power went, nobody was
//! told about it, and it is a torn tail.
//!
//! Nothing is written here: [`super::open`] goes on from what was read, [`super::examine`] only tells.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use duly_engine::zoo::{self, Bug};

use super::layout::{FIRST_RECORD, SegmentHeader};
use super::place::Occupied;
use super::segment::{Segment, Step, Walk};
use super::{DIRECTORY, Examined, Home, RecordView, ReplayFault, Report, Torn};
use crate::Error;

/// Whoever takes the records, in order.
pub(super) type Replay<'a> = dyn FnMut(RecordView<'_>) -> Result<(), ReplayFault> + 'a;

/// The segments of a journal, as far as they are read.
pub(super) struct Reading {
    home: Home,
    /// Of all segments, oldest first.
    numbers: Vec<u32>,
    /// The highest in any header.
    pub(super) incarnation: u64,
    /// All that are read but the last.
    pub(super) segments: VecDeque<Occupied>,
    pub(super) last: Option<Last>,
    /// What the next segment must begin with; nothing is known before the first.
    expected: Option<Follows>,
    pub(super) report: Report,
}

/// What comes after a record: its sequence, and the checksum it links to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Follows {
    pub(super) seq: u64,
    pub(super) link: u32,
}

/// The segment that may have a torn tail.
pub(super) struct Last {
    pub(super) segment: Segment,
    pub(super) header: SegmentHeader,
    pub(super) header_crc: u32,
    /// Where its good records end.
    pub(super) end: u64,
}

impl Reading {
    /// A journal of these segments.
    pub(super) fn new(home: Home, numbers: Vec<u32>) -> Reading {
        Reading {
            home,
            numbers,
            incarnation: 0,
            segments: VecDeque::new(),
            last: None,
            expected: None,
            report: Report::default(),
        }
    }

    /// Reads all of it, or up to the first fault.
    pub(super) fn read(&mut self, replay: &mut Replay<'_>) -> Result<(), Error> {
        (0..self.numbers.len()).try_for_each(|index| self.read_segment(index, replay))
    }

    /// Reads all of it whatever is wrong, and tells what is. Nothing is replayed after a fault.
    pub(super) fn examine(
        mut self,
        replay: &mut Replay<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Examined {
        let mut faults: Vec<Error> = Vec::new();
        let all = self.numbers.len();
        for index in 0..all {
            progress(index, all);
            let read = if faults.is_empty() {
                self.read_segment(index, replay)
            } else {
                self.read_segment(index, &mut |_| Ok(()))
            };
            if let Err(fault) = read {
                faults.push(fault);
                // The next one says itself where it begins.
                self.expected = None;
            }
        }
        self.report.segments = all;
        self.report.next_seq = self.next().seq;
        Examined { report: self.report, faults }
    }

    /// What the next record must be.
    pub(super) fn next(&self) -> Follows {
        self.expected.unwrap_or(Follows { seq: 1, link: 0 })
    }

    fn read_segment(&mut self, index: usize, replay: &mut Replay<'_>) -> Result<(), Error> {
        let number = self.numbers[index];
        let (segment, header, header_crc) = Segment::open(&self.home, number)?;
        let name = segment.name();
        self.incarnation = self.incarnation.max(header.incarnation);
        if index > 0 && self.numbers[index - 1] + 1 != number {
            let detail = format!("the segment before it, {}, is missing", number - 1);
            return Err(self.home.corrupt(&name, 0, detail));
        }
        let begins = Follows { seq: header.first_seq, link: header.previous };
        if *self.expected.get_or_insert(begins) != begins {
            let detail = "the segment does not follow the one before it".to_owned();
            return Err(self.home.corrupt(&name, 0, detail));
        }
        let mut walk = Walk::new(segment.file(), segment.length(), &header, header_crc);
        let step = self.replay_segment(&segment, &mut walk, replay)?;
        let is_last = index + 1 == self.numbers.len();
        match step {
            Step::Bad(why) if !is_last => {
                let detail = format!("{why}, in a segment that was complete");
                return Err(self.home.corrupt(&name, walk.position, detail));
            }
            Step::Bad(why) => self.judge_tail(&name, &mut walk, why, index == 0)?,
            Step::Seal | Step::Record => {}
        }
        self.expected = Some(Follows { seq: walk.next_seq, link: walk.link });
        if is_last {
            self.last = Some(Last { segment, header, header_crc, end: walk.position });
        } else {
            segment.set_sealed();
            self.keep(segment, &header, walk.position);
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
    fn judge_tail(
        &mut self,
        name: &str,
        walk: &mut Walk,
        why: &str,
        is_only: bool,
    ) -> Result<(), Error> {
        let offset = walk.position;
        let behind = walk
            .look_behind()
            .map_err(|source| self.home.fault("read the journal's tail", name, source))?;
        let is_alone = is_only && offset == FIRST_RECORD && walk.next_seq > 1;
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

    /// Keeps a segment that was read, as the newest.
    pub(super) fn keep(&mut self, segment: Segment, header: &SegmentHeader, used: u64) {
        let next_seq = self.next().seq;
        self.segments.push_back(Occupied {
            segment: Arc::new(segment),
            used,
            first_seq: header.first_seq,
            next_seq,
        });
    }
}

/// The numbers of a journal's segments, and of its spares, each in order.
pub(super) fn numbers(home: &Home) -> Result<(Vec<u32>, Vec<u64>), Error> {
    let names = home
        .disk
        .list(DIRECTORY)
        .map_err(|source| home.fault("list the journal", DIRECTORY, source))?;
    let mut segments: Vec<u32> = names.iter().filter_map(|name| number(name, "seg")).collect();
    segments.sort_unstable();
    let mut spares: Vec<u64> = names.iter().filter_map(|name| number(name, "spare")).collect();
    spares.sort_unstable();
    Ok((segments, spares))
}

/// The number in a file name of twenty digits and this extension.
fn number<N: std::str::FromStr>(name: &str, extension: &str) -> Option<N> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}
