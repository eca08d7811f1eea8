//! Keeping the journal short: the oldest segment's live records are stated anew, then it is freed.
//!
//! Only the oldest segment is ever cleaned, so facts can be neither reordered nor resurrected. A
//! thread of its own reads the segment record by record; the driver restates what is still live
//! among the facts of its ordinary steps. The segment is freed once all of that is durable and every
//! record that was final by then has left memory for the archive: from then on nobody needs it.

use duly_engine::id::Seq;
use duly_store::journal::Placer;

/// A record of the segment that is being cleaned, as the cleaner's thread read it.
pub(crate) struct OldRecord {
    pub(crate) segment: u32,
    pub(crate) facts_offset: u32,
    pub(crate) first_seq: Seq,
    pub(crate) time_ms: u64,
    pub(crate) facts: Vec<u8>,
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
pub(crate) enum Errand {
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
                if durable >= until && unarchived.is_none_or(|seq| seq > until) =>
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
