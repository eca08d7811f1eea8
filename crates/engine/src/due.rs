//! What falls due, in slices.
//!
//! Timers say where to look; the record decides. Besides timers there are three kinds of work that
//! may be long and is therefore cut into slices, one at most in each call: records parked while
//! lapsing was withheld come back, records of a queue whose policy changed are looked at again, and
//! shifts move along. None of it is remembered across a restart: the opening looks at every record
//! anyway, and a shift's progress is a fact.

use std::collections::{BTreeMap, BTreeSet};

use crate::fact::Fact;
use crate::id::{DeadlineId, QueueNo};
use crate::limits::SLICE;
use crate::state::live::{Phase, Place};
use crate::state::{Overdue, State};
use crate::step::{Engine, Storage};
use crate::time::Time;

/// Timer entries taken up in one slice: each may become a fact.
const ENTRIES: usize = 2_048;

/// Work that goes on over several steps.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Queues whose parked records may come back.
    unpark: BTreeSet<QueueNo>,
    /// Queues whose records must be looked at again, and the slot to go on from.
    again: BTreeMap<QueueNo, u32>,
    /// Queues with a shift under way.
    shifts: BTreeSet<QueueNo>,
    /// Entries popped from the timers, reused.
    entries: Vec<(u64, u32)>,
}

impl Work {
    pub(crate) fn unpark(&mut self, queue: QueueNo) {
        self.unpark.insert(queue);
    }

    pub(crate) fn unpark_all(&mut self, state: &State) {
        let parked = state.queues.values().filter(|queue| !queue.parked.is_empty());
        self.unpark.extend(parked.map(|queue| queue.no));
    }

    pub(crate) fn look_again(&mut self, queue: QueueNo) {
        self.again.insert(queue, 0);
    }

    pub(crate) fn resume_shifts(&mut self, state: &State) {
        let under_way = state.queues.values().filter(|queue| queue.shift.is_some());
        self.shifts.extend(under_way.map(|queue| queue.no));
    }

    pub(crate) fn shift(&mut self, queue: QueueNo) {
        self.shifts.insert(queue);
    }

    pub(crate) fn forget(&mut self, queue: QueueNo) {
        self.unpark.remove(&queue);
        self.again.remove(&queue);
        self.shifts.remove(&queue);
    }
}

impl Engine {
    /// Does a bounded slice of what is due. True when more of it waits.
    pub fn due_work(&mut self) -> bool {
        if self.storage >= Storage::Full {
            return false;
        }
        let timers = self.fire_timers();
        let parked = self.unpark_slice();
        let again = self.look_again_slice();
        let shifts = self.shift_slice();
        timers || parked || again || shifts
    }

    fn fire_timers(&mut self) -> bool {
        let mut entries = std::mem::take(&mut self.work.entries);
        entries.clear();
        let more = self.state.timers.pop(self.now.millis(), ENTRIES, &mut entries);
        for &(at, slot) in &entries {
            let Some(live) = self.state.records.get_mut(slot) else { continue };
            if live.armed == Time::from_millis(at) {
                live.armed = Time::NEVER;
                self.act(slot);
            }
        }
        self.work.entries = entries;
        more
    }

    /// Does what is due with a record, if anything is.
    fn act(&mut self, slot: u32) {
        match self.state.refresh(slot, self.now) {
            None => {}
            Some(Overdue::Lapse) => {
                self.lapse(slot);
            }
            Some(Overdue::Forget) => self.state.remove(slot),
            Some(Overdue::LeaseOver) => {
                self.retry_or_die(slot, "the lease ran out".into(), None, false);
            }
        }
    }

    /// Writes the lapse of a pending record.
    pub(crate) fn lapse(&mut self, slot: u32) {
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        self.lapsed.push(self.state.lapse_at(live));
        self.emit(Fact::Lapsed { queue, id });
    }

    fn unpark_slice(&mut self) -> bool {
        let Some(no) = self.work.unpark.first().copied() else { return false };
        if self.state.is_withheld(no) {
            self.work.unpark.remove(&no);
            return false;
        }
        let parked = &mut self.state.queue_mut(no).parked;
        let slots = parked.split_off(parked.len().saturating_sub(ENTRIES));
        if parked.is_empty() {
            self.work.unpark.remove(&no);
        }
        for slot in slots {
            let parked = self.state.records.get(slot);
            if parked.is_some_and(|live| live.place == Place::Parked && live.queue == no) {
                self.act(slot);
            }
        }
        !self.work.unpark.is_empty()
    }

    fn look_again_slice(&mut self) -> bool {
        let Some((&no, &from)) = self.work.again.first_key_value() else { return false };
        let end = self.state.records.slots();
        let until = end.min(from.saturating_add(u32::try_from(SLICE).unwrap_or(u32::MAX)));
        for slot in from..until {
            if self.state.records.get(slot).is_some_and(|live| live.queue == no) {
                self.look(slot);
            }
        }
        if until == end {
            self.work.again.remove(&no);
        } else {
            self.work.again.insert(no, until);
        }
        !self.work.again.is_empty()
    }

    fn shift_slice(&mut self) -> bool {
        let Some(no) = self.work.shifts.first().copied() else { return false };
        self.advance_shift(no);
        !self.work.shifts.is_empty()
    }

    /// Moves a slice of the deadlines that a shift is about; says how many it has moved in all.
    pub(crate) fn advance_shift(&mut self, no: QueueNo) -> u64 {
        let Some(shift) = self.state.queue(no).shift else {
            self.work.shifts.remove(&no);
            return 0;
        };
        let end = shift.below.0.min(shift.cursor.0.saturating_add(SLICE as u64));
        let mut moved = shift.moved;
        for id in (shift.cursor.0..end).map(DeadlineId) {
            let Some(slot) = self.state.slot_of_id(id) else { continue };
            let live = self.state.live(slot);
            let in_window = (shift.from..shift.to).contains(&live.due);
            if live.queue != no || live.phase != Phase::Pending || !in_window || self.is_over(slot)
            {
                continue;
            }
            let due = match u64::try_from(shift.by_ms) {
                Ok(later) => live.due.millis().saturating_add(later),
                Err(_) => live.due.millis().saturating_sub(shift.by_ms.unsigned_abs()),
            };
            let due = Time::from_millis(due);
            self.emit(Fact::Moved { queue: no, id, due, shifted: true });
            moved += 1;
        }
        self.emit(Fact::ShiftAdvanced { queue: no, cursor: DeadlineId(end), moved });
        if end == shift.below.0 {
            self.emit(Fact::ShiftEnded { queue: no });
            self.work.shifts.remove(&no);
        }
        moved
    }
}
