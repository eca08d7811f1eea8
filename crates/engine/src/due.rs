//! What falls due, in slices.
//!
//! Timers say where to look; the record decides. Besides timers there are three kinds of work that
//! may be long and is therefore cut into slices, one of each kind in a call: records parked while
//! lapsing was withheld come back, records of a queue whose policy changed are looked at again, and
//! shifts move along. None of it is remembered across a restart: the opening looks at every record
//! anyway, and a shift's progress is a fact.

use std::collections::BTreeSet;

use crate::fact::{Fact, Shift};
use crate::id::{DeadlineId, QueueNo};
use crate::limits::SLICE;
use crate::state::State;
use crate::state::live::{Phase, Place};
use crate::state::near::TOGETHER;
use crate::state::places::Overdue;
use crate::step::{Engine, Storage};
use crate::time::Time;

/// Timer entries taken up in one slice: each may become a fact. About what a fast disk takes a sync
/// for: whoever asks meanwhile waits for the slice, and where the disk is slower several go together.
const ENTRIES: usize = 256;

/// Work that goes on over several steps.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Queues whose parked records may come back.
    unpark: BTreeSet<QueueNo>,
    /// Queues whose records are being looked at again, all in one walk over the slots.
    again: BTreeSet<QueueNo>,
    /// Where that walk has come to.
    again_from: u32,
    /// Queues that came too late for that walk and need another.
    again_next: BTreeSet<QueueNo>,
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
        self.again_next.insert(queue);
    }

    /// What is ripe is not any longer, perhaps.
    pub(crate) fn look_again_at_ripe(&mut self, state: &State) {
        let ripe = state.queues.values().filter(|queue| !queue.ripe.is_empty());
        self.again_next.extend(ripe.map(|queue| queue.no));
    }

    pub(crate) fn resume_shifts(&mut self, state: &State) {
        let under_way = state.queues.values().filter(|queue| queue.shift.is_some());
        self.shifts.extend(under_way.map(|queue| queue.no));
    }

    pub(crate) fn shift(&mut self, queue: QueueNo) {
        self.shifts.insert(queue);
    }

    pub(crate) fn forget(&mut self, queue: QueueNo) {
        for queues in [&mut self.unpark, &mut self.again, &mut self.again_next, &mut self.shifts] {
            queues.remove(&queue);
        }
    }

    /// Are a queue's records still to be looked at again? Until then nobody knows who is over.
    pub(crate) fn looks_again(&self, queue: QueueNo) -> bool {
        self.again.contains(&queue) || self.again_next.contains(&queue)
    }

    /// Is there anything to do at once?
    pub(crate) fn waits(&self) -> bool {
        let queues = [&self.unpark, &self.again, &self.again_next, &self.shifts];
        queues.into_iter().any(|queues| !queues.is_empty())
    }
}

impl Engine {
    /// Does a bounded slice of what is due. True when more of it waits.
    pub fn due_work(&mut self) -> bool {
        if self.storage >= Storage::Full {
            return false;
        }
        self.unpark_slice();
        self.look_again_slice();
        self.shift_slice();
        // Last, because what the others find overdue is armed for now.
        self.fire_timers() || self.work.waits()
    }

    /// Has the slice of this step left something due?
    pub(crate) fn is_behind(&self) -> bool {
        let due = self.state.timers.next_wake().is_some_and(|wake| wake <= self.now.millis());
        self.storage < Storage::Full && (due || self.work.waits())
    }

    fn fire_timers(&mut self) -> bool {
        let mut entries = std::mem::take(&mut self.work.entries);
        entries.clear();
        let more = self.state.timers.pop(self.now.millis(), ENTRIES, &mut entries);
        for together in entries.chunks(TOGETHER) {
            self.state.bring_slots_near(together.iter().map(|(_, slot)| *slot));
            for &(at, slot) in together {
                let Some(live) = self.state.records.get_mut(slot) else { continue };
                if live.armed() == Time::from_millis(at) {
                    live.armed = Time::NEVER.into();
                    self.act(slot);
                }
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
            Some(Overdue::Forget) => self.forget(slot),
            Some(Overdue::LeaseOver) => {
                self.retry_or_die(slot, "the lease ran out".into(), None, false);
            }
        }
    }

    /// Writes the lapse of a pending record.
    pub(crate) fn lapse(&mut self, slot: u32) {
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        let lapse_at = self.state.lapse_at(live);
        assert!(lapse_at <= self.now, "no deadline lapses before its time");
        self.lapsed.push(lapse_at);
        self.emit(Fact::Lapsed { queue, id });
    }

    fn unpark_slice(&mut self) {
        let mut left = ENTRIES;
        while left > 0
            && let Some(no) = self.work.unpark.first().copied()
        {
            let withheld = self.state.is_withheld(no);
            let parked = &mut self.state.queue_mut(no).parked;
            let taken = if withheld { 0 } else { parked.len().min(left) };
            if withheld || taken == parked.len() {
                self.work.unpark.remove(&no);
            }
            let slots: Vec<u32> = parked.drain(..taken).collect();
            for slot in slots {
                let parked = self.state.records.get(slot);
                if parked.is_some_and(|live| live.place == Place::Parked && live.queue == no) {
                    self.act(slot);
                }
            }
            left -= taken;
        }
    }

    fn look_again_slice(&mut self) {
        if self.work.again.is_empty() {
            self.work.again = std::mem::take(&mut self.work.again_next);
            self.work.again_from = 0;
        }
        if self.work.again.is_empty() {
            return;
        }
        let from = self.work.again_from;
        let end = self.state.records.slots();
        let until = end.min(from.saturating_add(u32::try_from(SLICE).unwrap_or(u32::MAX)));
        for slot in from..until {
            let queue = self.state.records.get(slot).map(|live| live.queue);
            if queue.is_some_and(|queue| self.work.again.contains(&queue)) {
                self.look(slot);
            }
        }
        self.work.again_from = until;
        if until == end {
            for queue in std::mem::take(&mut self.work.again) {
                self.state.stir(queue);
            }
        }
    }

    fn shift_slice(&mut self) {
        if let Some(no) = self.work.shifts.first().copied() {
            self.advance_shift(no);
        }
    }

    /// Moves a slice of the deadlines that a shift is about; says how many it has moved in all.
    pub(crate) fn advance_shift(&mut self, no: QueueNo) -> u64 {
        let Some(shift) = self.state.queue(no).shift else {
            self.work.shifts.remove(&no);
            return 0;
        };
        let end = shift.below.0.min(shift.cursor.0.saturating_add(SLICE as u64));
        let (mut cursor, mut moved) = (shift.cursor.0, shift.moved);
        while cursor < end && moved - shift.moved < ENTRIES as u64 {
            moved += u64::from(self.shift_one(no, shift, DeadlineId(cursor)));
            cursor += 1;
        }
        let cursor = DeadlineId(cursor);
        if moved > shift.moved {
            self.emit(Fact::ShiftAdvanced { queue: no, cursor, moved });
        } else if let Some(shift) = &mut self.state.queue_mut(no).shift {
            // Numbers that are long over can be many: passing them is worth no fact.
            shift.cursor = cursor;
        }
        if cursor >= shift.below {
            self.emit(Fact::ShiftEnded { queue: no });
            self.work.shifts.remove(&no);
        }
        moved
    }

    /// Moves one deadline if it is in a shift's window and not over. True if it did.
    fn shift_one(&mut self, queue: QueueNo, shift: Shift, id: DeadlineId) -> bool {
        let Some(slot) = self.state.slot_of_id(id) else { return false };
        let live = self.state.live(slot);
        let in_window = (shift.from..shift.to).contains(&live.due());
        let due = live.due().millis().saturating_add_signed(shift.by_ms);
        if live.queue != queue || live.phase != Phase::Pending || !in_window || self.is_over(slot) {
            return false;
        }
        let due = Time::from_millis(due);
        self.emit(Fact::Moved { queue, id, due, shifted: true });
        true
    }
}
