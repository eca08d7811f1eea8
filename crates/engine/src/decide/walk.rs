//! Commands about many deadlines: a slice of a scan or of a count, and the beginning of a shift.

use std::collections::BTreeMap;

use super::No;
use crate::answer::{Answer, Refusal, ShiftView};
use crate::command::{Count, Filter, Scan};
use crate::deadline::Deadline;
use crate::fact::{Fact, Shift};
use crate::id::{DeadlineId, QueueName, QueueNo};
use crate::limits::{HORIZON, SLICE};
use crate::state::State;
use crate::state::live::{Live, Phase};
use crate::step::{Engine, Storage};
use crate::time::Time;

impl Engine {
    pub(super) fn scan(&mut self, scan: &Scan) -> Result<Answer, No> {
        let only = self.only(scan.queue.as_ref())?;
        let (until, next_slot) = self.slice(scan.from_slot);
        let mut order: Vec<(Time, DeadlineId, u32)> = (scan.from_slot..until)
            .filter_map(|slot| {
                let live = self.state.records.get(slot)?;
                let after = scan.after.is_none_or(|after| (live.due(), live.id) > after);
                let here = only.is_none_or(|only| live.queue == only);
                let shown = after && here && matches(&scan.filter, live, &self.state);
                shown.then_some((live.due(), live.id, slot))
            })
            .collect();
        order.sort_unstable();
        order.truncate(scan.limit);
        let found: Vec<Deadline> =
            order.into_iter().map(|(_, _, slot)| self.state.view(slot)).collect();
        Ok(Answer::Scanned { found, next_slot })
    }

    pub(super) fn count(&mut self, count: &Count) -> Result<Answer, No> {
        let only = self.only(count.queue.as_ref())?;
        let per = count.per.millis().max(1);
        let (until, next_slot) = self.slice(count.from_slot);
        let mut numbers: BTreeMap<(QueueNo, Time), u64> = BTreeMap::new();
        for slot in count.from_slot..until {
            let Some(live) = self.state.records.get(slot) else { continue };
            if only.is_none_or(|only| live.queue == only)
                && matches(&count.filter, live, &self.state)
            {
                let begin = Time::from_millis(live.due().millis() / per * per);
                *numbers.entry((live.queue, begin)).or_default() += 1;
            }
        }
        let named = |((no, begin), number)| ((self.state.queue(no).name.clone(), begin), number);
        Ok(Answer::Counted { due: numbers.into_iter().map(named).collect(), next_slot })
    }

    /// The queue that a walk is about; none if it is about all.
    fn only(&self, queue: Option<&QueueName>) -> Result<Option<QueueNo>, Refusal> {
        queue.map(|queue| self.known_queue(queue)).transpose()
    }

    /// Where a slice that begins there ends, and where the next one begins.
    fn slice(&self, from_slot: u32) -> (u32, Option<u32>) {
        let end = self.state.records.slots();
        let slice = u32::try_from(SLICE).unwrap_or(u32::MAX);
        let until = end.min(from_slot.saturating_add(slice));
        (until, (until < end).then_some(until))
    }

    pub(super) fn begin_shift(
        &mut self,
        queue: &QueueName,
        from: Time,
        to: Time,
        by_ms: i64,
    ) -> Result<Answer, No> {
        let no = self.known_queue(queue)?;
        if self.storage >= Storage::Low {
            return Err(Refusal::StorageLow.into());
        }
        if by_ms.unsigned_abs() > HORIZON.millis() {
            return Err(Refusal::DueTooFar.into());
        }
        if self.state.queue(no).shift.is_some() {
            return Err(Refusal::ShiftUnderWay.into());
        }
        let below = self.state.next_id;
        let shift = Shift { from, to, by_ms, below, cursor: DeadlineId(1), moved: 0 };
        self.emit(Fact::ShiftBegun { queue: no, shift });
        self.work.shift(no);
        // A small queue is done at once; a large one goes on with the next steps.
        let moved = self.advance_shift(no);
        let finished = self.state.queue(no).shift.is_none();
        Ok(Answer::Shift(ShiftView { moved, finished }))
    }
}

fn matches(filter: &Filter, live: &Live, state: &State) -> bool {
    let begins = |prefix: &String| state.key_text(live).starts_with(prefix.as_str());
    live.phase != Phase::Remembered
        && filter.state.is_none_or(|state| live.phase.state() == state)
        && filter.delivery.is_none_or(|delivery| live.phase.delivery_state() == Some(delivery))
        && filter.due_from.is_none_or(|from| live.due() >= from)
        && filter.due_to.is_none_or(|to| live.due() < to)
        && filter.key_prefix.as_ref().is_none_or(begins)
}
