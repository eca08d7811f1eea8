//! Reading rows again just before they are due.
//!
//! Whoever paid since the row was armed is found here: the deadline is settled with what the table
//! says, and so it never lapses. A row that is still open is let go, and the guarded action decides
//! in the end, because between this reading and the action there is always a moment left. When more
//! would lapse in a minute than the operator thought possible, lapses are held back instead.

use std::collections::{BTreeMap, VecDeque};

use duly_engine::answer::{Answer, SettleResult};
use duly_engine::command::{Command, Filter, Scan};
use duly_engine::deadline::{Deadline, State};
use duly_engine::limits::SLICE;
use duly_engine::time::{Span, Time};

use super::compare::{self, Finding, RowNow};
use super::row::{Mark, Row};
use super::watcher::{
    ByWhom, Life, Lives, PAGE, Purpose, Query, Step, Told, Watcher, by_key, life,
};

/// Rows are read again so long before they are due, or at most twice as long, to read many at once.
const LEAD: Span = Span::from_secs(1);
/// Deadlines due within this are listed.
const AHEAD: Span = Span::from_secs(15);
/// How often they are listed.
const LIST_EVERY: Span = Span::from_secs(5);
/// A deadline that still pends so long after it was read again is read once more.
const AGAIN: Span = Span::from_hours(1);

/// Where the reading again stands.
#[derive(Debug, Default)]
pub(super) struct Checked {
    list_at: Time,
    /// The slices of a list that is being made go on here.
    next_slot: Option<u32>,
    /// Due soon, and not read again yet.
    soon: BTreeMap<Life, Deadline>,
    /// Read again.
    done: Lives,
}

impl Watcher {
    /// Begins to list what is due soon, or to read some of it again; else says when it is time.
    pub(super) fn begin_recheck(&mut self, now: Time) -> Option<Time> {
        if now >= self.checked.list_at && self.checked.next_slot.is_none() {
            self.checked.list_at = now.plus(LIST_EVERY);
            self.checked.next_slot = Some(0);
            self.checked.done.retain(|(due, _, _)| due.plus(AGAIN) > now);
            if self.held_back {
                let ask = Command::GetQueue(self.queue.clone());
                self.agenda.push_back(Step::Tell(vec![(ask, Told::IsHeldBack)]));
            }
        }
        if let Some(slot) = self.checked.next_slot {
            let filter = Filter {
                state: Some(State::Pending),
                due_to: Some(now.plus(AHEAD)),
                ..Filter::default()
            };
            let scan = self.slice(slot, filter);
            self.agenda.push_back(Step::Tell(vec![(scan, Told::Soon)]));
            return None;
        }
        let Some((&(first, _, _), _)) = self.checked.soon.first_key_value() else {
            return Some(self.checked.list_at);
        };
        if now.plus(LEAD) < first {
            return Some(self.checked.list_at.min(first.minus(LEAD)));
        }
        let until = now.plus(LEAD).plus(LEAD);
        let mut records = Vec::new();
        while records.len() < PAGE
            && let Some(entry) = self.checked.soon.first_entry()
            && entry.key().0 <= until
        {
            records.push(entry.remove());
        }
        let keys = records.iter().map(|record| record.key.clone()).collect();
        self.agenda.push_back(Step::Query(Query::Keys(keys), Purpose::Recheck(records)));
        None
    }

    /// A slice of a walk over the queue's deadlines.
    pub(super) fn slice(&self, from_slot: u32, filter: Filter) -> Command {
        let queue = Some(self.queue.clone());
        Command::Scan(Scan { queue, from_slot, filter, after: None, limit: SLICE })
    }

    /// A new deadline, which may be due before the next list is made.
    pub(super) fn expect_soon(&mut self, now: Time, record: Deadline) {
        if record.state == State::Pending && record.due <= now.plus(AHEAD) {
            self.take_note(record);
        }
    }

    fn take_note(&mut self, record: Deadline) {
        let is_ours = Mark::of(&record, &self.rules.table).is_some();
        if is_ours && !self.checked.done.contains(&life(&record)) {
            self.checked.soon.insert(life(&record), record);
        }
    }

    /// A slice of what is due soon.
    pub(super) fn soon(&mut self, _now: Time, answer: Answer) {
        let Answer::Scanned { found, next_slot } = answer else {
            self.checked.next_slot = None;
            return;
        };
        self.checked.next_slot = next_slot;
        for record in found {
            self.take_note(record);
        }
    }

    /// What the rows of deadlines about to be due say now.
    pub(super) fn rechecked(&mut self, now: Time, records: &[Deadline], rows: &[Row]) {
        let mut about_to_lapse = 0;
        let remedies = self.compared(now, records, rows, ByWhom::Watch, &mut |finding, record| {
            about_to_lapse += usize::from(*finding == Finding::Fits && record.due > now);
        });
        self.checked.done.extend(records.iter().map(life));
        if self.rules.acts {
            let room = self.acting.room(now);
            self.acting.take(about_to_lapse);
            if about_to_lapse > room && !self.held_back {
                self.held_back = true;
                let queue = self.queue.clone();
                let pause = Command::Pause { queue, deliveries: None, lapses: Some(true) };
                self.agenda.push_back(Step::Tell(vec![(pause, Told::HeldBack)]));
            }
        }
        if !remedies.is_empty() {
            self.agenda.push_back(Step::Tell(remedies));
        }
    }

    /// Compares records with their rows: what puts them right.
    pub(super) fn compared(
        &self,
        now: Time,
        records: &[Deadline],
        rows: &[Row],
        by: ByWhom,
        each: &mut dyn FnMut(&Finding, &Deadline),
    ) -> Vec<(Command, Told)> {
        let rows = by_key(rows);
        let table = &self.rules.table;
        let mut remedies = Vec::new();
        for record in records {
            let row = rows.get(&record.key).map(|row| (*row, self.read(row)));
            let finding = compare::compare(RowNow::of(row), record, table, now);
            each(&finding, record);
            if let Some(command) = finding.remedy(record, table) {
                remedies.push((command, Told::Remedied(finding, by)));
            }
        }
        remedies
    }

    /// A difference was put right, unless something else was faster.
    pub(super) fn remedied(&mut self, now: Time, finding: &Finding, by: ByWhom, answer: Answer) {
        let figures = &mut self.figures;
        let record = match (finding, answer) {
            (Finding::Closed(_), Answer::Settled { result: SettleResult::Settled, .. }) => {
                figures.settled += 1;
                figures.drift.closed += u64::from(by == ByWhom::Sweep);
                None
            }
            (Finding::Moved(_), Answer::Scheduled { created: true, deadline, .. }) => {
                figures.moved += 1;
                Some(deadline)
            }
            (Finding::Reopened(_), Answer::Scheduled { created: true, deadline, .. }) => {
                figures.reopened += 1;
                Some(deadline)
            }
            // It lapsed, was settled or erased meanwhile: whoever did that has the last word.
            _ => return,
        };
        if by == ByWhom::Sweep {
            self.sweep.repaired(finding);
        }
        if let Some(record) = record {
            self.expect_soon(now, *record);
        }
    }

    /// Has the operator let lapses go on?
    pub(super) fn is_held_back(&mut self, now: Time, answer: &Answer) {
        if let Answer::Queue(queue) = answer
            && !queue.lapse_paused
        {
            self.held_back = false;
            self.acting.reset(now);
        }
    }
}

/// The first so many of a list, which keeps the rest.
pub(super) fn first_of(list: &mut VecDeque<Deadline>, most: usize) -> Vec<Deadline> {
    let most = most.min(list.len());
    list.drain(..most).collect()
}
