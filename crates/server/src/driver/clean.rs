//! Keeping the journal short: the oldest segment's live records are stated anew, then it is freed.
//!
//! Only the oldest segment is ever cleaned, so facts can be neither reordered nor resurrected. A
//! thread of its own reads the segment record by record; the driver restates what is still live
//! among the facts of its ordinary steps. The segment is freed once all of that is durable and every
//! record that was final by then has left memory for the archive: from then on nobody needs it.

use std::sync::Arc;

use duly_engine::id::Seq;
use duly_engine::zoo::{self, Bug};
use duly_store::Error;
use duly_store::journal::{Placer, Scan, Segment};

/// Bytes of old facts that are read, and then looked through, in one go, about.
const CLEANED_TOGETHER: usize = 128 << 10;

/// A record of the segment that is being cleaned, as the cleaner's thread read it.
pub struct OldRecord {
    /// The number of the segment.
    pub segment: u32,
    /// Where in it the facts begin, in bytes.
    pub facts_offset: u32,
    /// The sequence of the first of them.
    pub first_seq: Seq,
    /// The time of the step that wrote it, in ms since 1970.
    pub time_ms: u64,
    /// The facts as bytes.
    pub facts: Vec<u8>,
}

/// Reads the records of an old segment, some at a time.
pub struct OldRecords(Scan);

impl OldRecords {
    /// All records of this segment, which must be sealed.
    pub fn of(segment: &Arc<Segment>) -> Result<OldRecords, Error> {
        Ok(OldRecords(Segment::scan(segment)?))
    }

    /// The next records, and whether they are the last.
    pub fn read_on(&mut self) -> Result<(Vec<OldRecord>, bool), Error> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < CLEANED_TOGETHER {
            let Some(record) = self.0.next_record()? else { return Ok((records, true)) };
            bytes += record.facts.len();
            records.push(OldRecord {
                segment: record.segment,
                facts_offset: record.offset_of_facts,
                first_seq: record.first_seq,
                time_ms: record.time_ms,
                facts: record.facts.to_vec(),
            });
        }
        Ok((records, false))
    }
}

/// How far cleaning has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing to do.
    Resting,
    /// The cleaner's thread has been asked for records of this segment.
    Reading(u32),
    /// All is restated; the segment goes when everything up to this fact is durable and, if it was
    /// final, out of memory.
    Waiting(u32, Seq),
}

/// Decides when to clean and what to do next.
pub(super) struct Cleaning {
    progress: Progress,
    /// The journal may be as long as this, or as three times what is live.
    keep_bytes: u64,
}

/// What the cleaner's thread should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Begin with the first records of this segment.
    Begin(u32),
    /// Go on with the next records.
    Next,
}

impl Cleaning {
    pub(super) fn new(keep_bytes: u64) -> Cleaning {
        Cleaning { progress: Progress::Resting, keep_bytes }
    }

    /// Looks whether something is to be done. Freeing is done here; reading is an errand.
    /// `unarchived` is the first fact that the archive is still needed for; with `is_short` of
    /// spare segments the journal may be no longer than it must.
    pub(super) fn look(
        &mut self,
        placer: &mut Placer,
        live_bytes: u64,
        durable: Seq,
        unarchived: Option<Seq>,
        is_short: bool,
    ) -> Option<Errand> {
        match self.progress {
            Progress::Resting => {
                let bytes: u64 = placer.segments().map(|segment| segment.used).sum();
                let oldest = placer.oldest().filter(|oldest| oldest.sealed)?;
                // The newest segment takes records; cleaning the only other one gains little.
                let (several, keep_bytes) = if is_short {
                    (true, 0)
                } else {
                    (placer.segments().count() > 2, self.keep_bytes)
                };
                let long = bytes > keep_bytes.max(3 * live_bytes);
                if !(several && long) {
                    return None;
                }
                self.progress = Progress::Reading(oldest.number);
                Some(Errand::Begin(oldest.number))
            }
            Progress::Waiting(segment, until)
                if durable >= until
                    && (unarchived.is_none_or(|seq| seq > until)
                        || zoo::bites(Bug::FreedBeforeArchived)) =>
            {
                let oldest = placer.oldest().map(|oldest| oldest.number);
                assert_eq!(oldest, Some(segment), "only the oldest segment is cleaned");
                placer.free_oldest();
                self.progress = Progress::Resting;
                None
            }
            Progress::Reading(_) | Progress::Waiting(..) => None,
        }
    }

    /// The segment has no more records; everything up to `last` must be durable before it goes.
    pub(super) fn read_out(&mut self, last: Seq) {
        if let Progress::Reading(segment) = self.progress {
            self.progress = Progress::Waiting(segment, last);
        }
    }
}
