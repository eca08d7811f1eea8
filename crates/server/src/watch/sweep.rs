//! Reconciliation: table and deadlines, one beside the other, gently and always.
//!
//! First the open rows, page by page: each must have a deadline. Then the pending deadlines: each
//! must have an open row. At most one query a period, so a large table takes its time.
//! What looks have not come to yet is left to them. A row that turns up here
//! although no look has seen a row in time is a sign that the table's clock is another than it was:
//! then nothing is armed until a new row shows that it is right again. A row without a deadline that
//! is overdue already is reported and not touched, for nobody has been told that it would be.

use std::collections::VecDeque;

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Address, Command, Filter};
use duly_engine::deadline::{Deadline, State};
use duly_engine::time::{Span, Time};

use super::compare::{self, Finding, RowNow};
use super::recheck::first_of;
use super::row::{Cursor, Mark, Reading, Row};
use super::watcher::{Agreement, ByWhom, PAGE, Purpose, Query, Step, TOLERANCE, Told, Watcher};

/// Rows created longer ago than this, besides their delay, are not reconciled.
const REACH: Span = Span::from_days(7);

/// Where the reconciliation stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    at: Time,
    stage: Option<Stage>,
    /// Found by the one under way.
    overdue: u64,
    stuck: u64,
}

#[derive(Debug)]
enum Stage {
    Table { after: Option<Cursor> },
    Records { slot: Option<u32>, waiting: VecDeque<Deadline> },
}

impl Sweep {
    /// What was under way begins anew, a while later.
    pub(super) fn abandon(&mut self, now: Time) {
        if self.stage.take().is_some() {
            self.at = now;
        }
    }
}

impl Watcher {
    /// Goes on with the reconciliation, or begins one; else says when it is time.
    pub(super) fn begin_sweep(&mut self, now: Time) -> Option<Time> {
        if self.sweep.at == Time::ZERO {
            // Not in the first moments of a start, when looks have much to catch up with.
            self.sweep.at = now.plus(self.rules.reconcile);
        }
        if now < self.sweep.at {
            return Some(self.sweep.at);
        }
        let records = || Stage::Records { slot: Some(0), waiting: VecDeque::new() };
        let may_arm = self.agreement == Agreement::Seen && self.form.is_some();
        let stage = self
            .sweep
            .stage
            .take()
            .unwrap_or_else(|| if may_arm { Stage::Table { after: None } } else { records() });
        match stage {
            Stage::Table { .. } if !may_arm => self.sweep.stage = Some(records()),
            Stage::Table { after } => {
                let from = self.bound(self.start().max(now.minus(self.reach())));
                let query = Query::Open { from, after: after.clone(), limit: PAGE };
                self.sweep.stage = Some(Stage::Table { after });
                self.agenda.push_back(Step::Query(query, Purpose::SweepTable));
            }
            Stage::Records { slot, mut waiting } => {
                if !waiting.is_empty() {
                    let records = first_of(&mut waiting, PAGE);
                    let keys = records.iter().map(|record| record.key.clone()).collect();
                    let step = Step::Query(Query::Keys(keys), Purpose::SweepRecords(records));
                    self.agenda.push_back(step);
                    self.sweep.stage = Some(Stage::Records { slot, waiting });
                } else if let Some(slot) = slot {
                    let filter = Filter { state: Some(State::Pending), ..Filter::default() };
                    let scan = self.slice(slot, filter);
                    self.agenda.push_back(Step::Tell(vec![(scan, Told::Pending)]));
                    self.sweep.stage = Some(Stage::Records { slot: None, waiting });
                } else {
                    self.end_sweep(now);
                }
            }
        }
        None
    }

    fn reach(&self) -> Span {
        match &self.rules.due {
            crate::config::WatchDue::After(delay) => REACH.plus(*delay),
            crate::config::WatchDue::Column(_) => REACH,
        }
    }

    fn rest(&mut self, now: Time) {
        self.sweep.at = now.plus(self.rules.period);
    }

    fn end_sweep(&mut self, now: Time) {
        self.figures.drift.overdue = std::mem::take(&mut self.sweep.overdue);
        self.figures.drift.stuck = std::mem::take(&mut self.sweep.stuck);
        self.figures.reconciled_at = Some(now);
        self.look.fresh = 0;
        self.sweep.at = now.plus(self.rules.reconcile);
    }

    /// A page of open rows: which of them have a deadline?
    pub(super) fn swept_table(&mut self, now: Time, rows: &[Row]) {
        self.rest(now);
        let left_to_looks = self.covered().minus(self.rules.overlap).minus(TOLERANCE);
        let mut asked = Vec::new();
        for row in rows {
            let Ok(reading) = self.read(row) else { continue };
            let mark = reading.mark(now.plus(TOLERANCE));
            if mark.created < self.start() || reading.created.latest >= left_to_looks {
                continue;
            }
            let at = Address { queue: self.queue.clone(), key: reading.key.clone() };
            asked.push((Command::Get(at), Told::Known(reading, mark)));
        }
        if !asked.is_empty() {
            self.agenda.push_back(Step::Tell(asked));
        }
        self.sweep.stage = Some(match rows.last() {
            Some(last) if rows.len() == PAGE => Stage::Table { after: Some(last.cursor()) },
            _ => Stage::Records { slot: Some(0), waiting: VecDeque::new() },
        });
    }

    /// The deadline of an open row, or that there is none.
    pub(super) fn known(
        &mut self,
        now: Time,
        reading: Reading,
        mark: Mark,
        answer: Answer,
        remedies: &mut Vec<(Command, Told)>,
    ) {
        let table = &self.rules.table;
        match answer {
            Answer::Deadline(record) => {
                let finding = compare::compare(RowNow::Open(reading), &record, table, now);
                self.sweep.stuck += u64::from(finding == Finding::Stuck);
                if let Some(command) = finding.remedy(&record, table) {
                    remedies.push((command, Told::Remedied(finding, ByWhom::Sweep)));
                }
            }
            Answer::Refused(Refusal::UnknownDeadline) if self.look.fresh == 0 => {
                let why = format!(
                    "row {} turned up long after it says it was created, and no row is seen when it \
                     is created: is time_zone right? If rows become open later, say how much later \
                     with overlap",
                    reading.key
                );
                self.agree(Agreement::Mismatch(why));
            }
            Answer::Refused(Refusal::UnknownDeadline) if mark.due <= now => self.sweep.overdue += 1,
            Answer::Refused(Refusal::UnknownDeadline) => {
                if self.agreement == Agreement::Seen && self.arming.room(now) > 0 {
                    self.arming.take(1);
                    self.figures.drift.unarmed += 1;
                    let command = compare::arm(&self.queue, &reading, &mark, table);
                    remedies.push((command, Told::Armed(reading, mark)));
                }
            }
            Answer::Refused(refusal) => self.refused = Some(refusal.code()),
            other => unreachable!("a get was answered with {other:?}"),
        }
    }

    /// A slice of the pending deadlines.
    pub(super) fn pending(&mut self, answer: Answer) {
        let table = &self.rules.table;
        let (Answer::Scanned { found, next_slot }, Some(Stage::Records { slot, waiting })) =
            (answer, &mut self.sweep.stage)
        else {
            return;
        };
        *slot = next_slot;
        waiting.extend(found.into_iter().filter(|record| Mark::of(record, table).is_some()));
    }

    /// What the rows of pending deadlines say.
    pub(super) fn swept_records(&mut self, now: Time, records: &[Deadline], rows: &[Row]) {
        self.rest(now);
        let remedies = self.compared(now, records, rows, ByWhom::Sweep, &mut |_, _| {});
        if !remedies.is_empty() {
            self.agenda.push_back(Step::Tell(remedies));
        }
    }
}
