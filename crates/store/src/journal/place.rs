//! Deciding where records will lie, before anything is written.
//!
//! The driver must know the place of a payload in the same step that creates it, while the bytes
//! reach the disk on another thread. So the [`Placer`] does the arithmetic alone: it never waits for
//! a disk, and what it hands out is a [`Placed`] record that the writer must put exactly there.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::allocate::{Pool, Spare};
use super::layout::{FIRST_RECORD, Kind, RECORD_HEADER, SegmentHeader, record_bytes};
use super::segment::{Segment, offset_of_facts};
use super::{Home, MAX_FACTS_BYTES};

/// There is no reserved file to begin a segment in. Nothing has changed; the allocator may have one
/// later, or freeing old segments gives one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpare;

/// What one segment holds, as far as it has been placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u32,
    /// Its length on the disk.
    pub bytes: u64,
    /// The bytes taken by its records and its header.
    pub used: u64,
    /// The sequence of its first fact.
    pub first_seq: u64,
    /// The sequence of its last fact; one less than `first_seq` while it has none.
    pub last_seq: u64,
    /// True once it is full and on the disk, with the base record of the next segment: it may be
    /// scanned and freed.
    pub sealed: bool,
}

pub(super) struct Occupied {
    pub(super) segment: Arc<Segment>,
    pub(super) used: u64,
    pub(super) first_seq: u64,
    pub(super) next_seq: u64,
}

/// Places records in segments. One per journal; never does any IO.
pub struct Placer {
    home: Home,
    pool: Arc<Pool>,
    /// Oldest first.
    segments: VecDeque<Occupied>,
    /// Whether the newest of them takes records.
    has_current: bool,
    /// The segment that was begun last, until its first record is placed.
    beginning: Option<Beginning>,
    largest_facts: usize,
    next_number: u32,
    next_incarnation: u64,
    next_seq: u64,
}

/// A segment that the writer has to begin.
pub(super) struct Beginning {
    pub(super) spare: Spare,
    /// All of it but `previous`, which only the writer knows.
    pub(super) header: SegmentHeader,
}

/// A record with its place, on its way to [`super::Writer::write`].
pub struct Placed {
    pub(super) beginning: Option<Beginning>,
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    pub(super) kind: Kind,
    pub(super) first_seq: u64,
    pub(super) count: u32,
    pub(super) time_ms: u64,
    pub(super) facts: Vec<u8>,
}

impl Placed {
    /// The number of the segment it will lie in.
    pub fn segment(&self) -> u32 {
        self.segment.number()
    }

    /// Where in the segment's file its facts will begin, in bytes.
    pub fn offset_of_facts(&self) -> u32 {
        offset_of_facts(self.offset)
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The journal time it is written at, in ms since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Its facts, in the engine's encoding.
    pub fn facts(&self) -> &[u8] {
        &self.facts
    }

    /// The sequence of its first fact.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The bytes it takes of the segment, its header included.
    pub fn bytes(&self) -> usize {
        record_bytes(self.facts.len())
    }

    /// The sequence of its last fact.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed")
            .field("segment", &self.segment())
            .field("offset", &self.offset)
            .field("kind", &self.kind)
            .field("first_seq", &self.first_seq)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// What recovery found for the placer to go on from.
pub(super) struct Start {
    pub(super) segments: VecDeque<Occupied>,
    pub(super) has_current: bool,
    pub(super) next_number: u32,
    pub(super) next_incarnation: u64,
    pub(super) next_seq: u64,
}

impl Placer {
    pub(super) fn new(home: Home, pool: Arc<Pool>, start: Start) -> Placer {
        Placer {
            home,
            largest_facts: largest_facts(pool.segment_bytes),
            pool,
            segments: start.segments,
            has_current: start.has_current,
            beginning: None,
            next_number: start.next_number,
            next_incarnation: start.next_incarnation,
            next_seq: start.next_seq,
        }
    }

    /// The sequence the next record must begin with.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The largest facts that one record of a new segment can hold beside its base record, in bytes;
    /// a base record itself may take all the rest.
    pub fn largest_facts(&self) -> usize {
        self.largest_facts
    }

    /// How many bytes of facts the next record can hold in the current segment.
    pub fn room(&self) -> usize {
        let Some(current) = self.current() else { return 0 };
        let left = current.segment.length() - current.used;
        // The seal takes a record header too.
        let left = usize::try_from(left).unwrap_or(usize::MAX).saturating_sub(2 * RECORD_HEADER);
        (left & !7).min(MAX_FACTS_BYTES)
    }

    /// True when facts of this length do not fit, or there is no current segment yet.
    pub fn needs_roll(&self, facts: usize) -> bool {
        !self.has_current || facts > self.room()
    }

    /// True when the next record must be a [`Kind::Base`] record: it opens the current segment.
    pub fn needs_base(&self) -> bool {
        self.beginning.is_some()
    }

    /// Begins a new segment in a spare file. Its first record must be a base record.
    pub fn roll(&mut self) -> Result<(), NoSpare> {
        assert!(self.beginning.is_none(), "a segment is left only after its base record");
        let spare = self.pool.take().ok_or(NoSpare)?;
        let (number, incarnation) = (self.next_number, self.next_incarnation);
        self.next_number += 1;
        self.next_incarnation += 1;
        let length = self.pool.segment_bytes;
        let header = SegmentHeader {
            salt: SegmentHeader::salt(self.home.hash_seed, u64::from(number), incarnation),
            number: u64::from(number),
            incarnation,
            directory: self.home.directory_id,
            length,
            first_seq: self.next_seq,
            previous: 0,
        };
        let segment = Segment::new(self.home.clone(), number, length, Arc::clone(&spare.file));
        self.segments.push_back(Occupied {
            segment: Arc::new(segment),
            used: FIRST_RECORD,
            first_seq: self.next_seq,
            next_seq: self.next_seq,
        });
        self.has_current = true;
        self.beginning = Some(Beginning { spare, header });
        Ok(())
    }

    /// Gives a record its place. It must fit ([`Placer::needs_roll`]), begin with
    /// [`Placer::next_seq`], and be a base record exactly if it is the first of its segment.
    pub fn place(
        &mut self,
        kind: Kind,
        first_seq: u64,
        count: u32,
        time_ms: u64,
        facts: Vec<u8>,
    ) -> Placed {
        assert!(!self.needs_roll(facts.len()), "a record is placed where it fits");
        assert!(first_seq == self.next_seq, "sequences have no gaps");
        assert!(count > 0, "a record holds at least one fact");
        assert!(
            self.needs_base() == (kind == Kind::Base),
            "a segment has one base record and it comes first"
        );
        let beginning = self.beginning.take();
        let current = self.segments.back_mut().expect("a record that fits has a segment");
        let offset = current.used;
        current.used += record_bytes(facts.len()) as u64;
        self.next_seq += u64::from(count);
        current.next_seq = self.next_seq;
        let segment = Arc::clone(&current.segment);
        Placed { beginning, segment, offset, kind, first_seq, count, time_ms, facts }
    }

    /// How many new segments can be begun without waiting for the allocator.
    pub fn spares(&self) -> usize {
        self.pool.available()
    }

    /// Waits for the allocator, on another thread, until so many can be begun or the disk has no room
    /// for more. It must be asked for at least as many.
    pub fn wait_for_spares(&self, spares: usize) {
        self.pool.wait_for(spares);
    }

    /// All segments, oldest first; the last one may be taking records.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = SegmentInfo> {
        self.segments.iter().map(Occupied::info)
    }

    /// The oldest segment, unless it is the one taking records.
    pub fn oldest(&self) -> Option<SegmentInfo> {
        if self.segments.len() < 2 && self.has_current {
            return None;
        }
        self.segments.front().map(Occupied::info)
    }

    /// A segment, to read payloads from; its file stays as long as somebody holds this. `None` when
    /// there is no such segment any more.
    pub fn reader(&self, number: u32) -> Option<Arc<Segment>> {
        let first = self.segments.front()?.segment.number();
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        Some(Arc::clone(&self.segments.get(index)?.segment))
    }

    /// Gives up the oldest segment, which must be sealed: all it holds is durable elsewhere or no
    /// longer wanted. Its file is used again once the last reader has let go of it.
    pub fn free_oldest(&mut self) {
        let oldest = self.oldest().expect("only a segment that takes no records is freed");
        assert!(oldest.sealed, "only a sealed segment is freed");
        if let Some(freed) = self.segments.pop_front() {
            self.pool.free(freed.segment);
        }
    }

    fn current(&self) -> Option<&Occupied> {
        if self.has_current { self.segments.back() } else { None }
    }
}

impl Occupied {
    fn info(&self) -> SegmentInfo {
        SegmentInfo {
            number: self.segment.number(),
            bytes: self.segment.length(),
            used: self.used,
            first_seq: self.first_seq,
            last_seq: self.next_seq - 1,
            sealed: self.segment.is_sealed(),
        }
    }
}

/// The largest facts of a segment of this length, and as much for the base record before them: half
/// of what it holds.
pub fn largest_facts(segment_bytes: u64) -> usize {
    let whole = usize::try_from(segment_bytes - FIRST_RECORD).unwrap_or(usize::MAX);
    (((whole - 3 * RECORD_HEADER) / 2) & !7).min(MAX_FACTS_BYTES)
}
