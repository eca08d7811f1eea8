//! Reconciliation: table and deadlines, one beside the other, gently and always.
//!
//! First the open rows, page by page: each must have a deadline. Then the pending deadlines: each
//! must have an open row. At most one query a period, so a large table takes its time.
//! What looks have not come to yet is left to them. A row that turns up here
//! although no look has seen a row in time is a sign that the table's clock is another than it was:
//! then nothing is armed until a new row shows that it is right again. A row without a deadline that
//! is overdue already is reported and not touched, for nobody has been told that it would be.
//!
//! Somebody may ask for one (`duly reconcile`): it begins anew, takes no rests, says what it finds row
//! by row, and on a dry run puts nothing right.

use std::collections::{BTreeSet, VecDeque};

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Address, Command, Filter};
use duly_engine::deadline::{Deadline, State};
use duly_engine::id::Key;
use duly_engine::time::{Span, Time};

use super::compare::{self, Finding, RowNow};
use super::recheck::first_of;
use super::row::{Cursor, Mark, Reading, Row, key_of};
use super::watcher::{Agreement, ByWhom, PAGE, Purpose, Query, Step, TOLERANCE, Told, Watcher};
use crate::reconciliation::{self, Drift, Reconciliation};

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
    /// Somebody asked for one that has not begun.
    wished: Option<Reconciliation>,
    /// The one that somebody asked for.
    asked: Option<Reconciliation>,
    /// It has changed since it was last told.
    is_news: bool,
    /// Rows that it found without a deadline, on their way to one.
    unarmed: BTreeSet<Key>,
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

    /// What was asked for will not be.
    pub(super) fn fail(&mut self, now: Time, why: &str) {
        if let Some(asked) = self.wished.take().or(self.asked.take()) {
            self.asked = Some(asked.at(reconciliation::Stage::Failed(why.to_owned()), now));
            self.is_news = true;
        }
        self.unarmed.clear();
    }

    /// Does somebody wait for this one?
    fn is_asked(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| !asked.is_over())
    }

    fn is_dry(&self) -> bool {
        self.is_asked() && self.asked.as_ref().is_some_and(|asked| asked.dry_run)
    }

    /// Changes what is said about the one that was asked for.
    fn note(&mut self, change: impl FnOnce(&mut Reconciliation)) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| !asked.is_over()) {
            change(asked);
            self.is_news = true;
        }
    }

    /// A row that was found without a deadline has got one.
    pub(super) fn armed(&mut self, key: &Key) {
        if self.unarmed.remove(key) {
            self.note(|asked| asked.repair(Drift::Unarmed));
        }
    }

    /// What was found was put right.
    pub(super) fn repaired(&mut self, finding: &Finding) {
        if let Some(drift) = drift(finding) {
            self.note(|asked| asked.repair(drift));
        }
    }
}

/// What a finding is called.
fn drift(finding: &Finding) -> Option<Drift> {
    match finding {
        Finding::Fits => None,
        Finding::Closed(_) => Some(Drift::Closed),
        Finding::Moved(_) => Some(Drift::Moved),
        Finding::Reopened(_) => Some(Drift::Reopened),
        Finding::Stuck => Some(Drift::Stuck),
    }
}

impl Watcher {
    /// Goes on with the reconciliation, or begins one; else says when it is time.
    pub(super) fn begin_sweep(&mut self, now: Time) -> Option<Time> {
        if let Some(wish) = self.sweep.wished.take() {
            let asked = Some(wish.at(reconciliation::Stage::UnderWay, now));
            self.sweep = Sweep { asked, is_news: true, at: now, ..Sweep::default() };
        }
        if self.sweep.at == Time::ZERO {
            // Not in the first moments of a start, when looks have much to catch up with.
            self.sweep.at = now.plus(self.rules.reconcile);
        }
        if now < self.sweep.at {
            return Some(self.sweep.at);
        }
        let records = || Stage::Records { slot: Some(0), waiting: VecDeque::new() };
        let may_arm = self.agreement == Agreement::Seen && self.form.is_some();
        if !may_arm && self.sweep.stage.is_none() {
            let why = self.distrust();
            self.sweep.note(|asked| asked.skipped = Some(why));
        }
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

    /// Why rows without a deadline are not looked for.
    fn distrust(&self) -> String {
        match &self.agreement {
            Agreement::Mismatch(why) => why.clone(),
            Agreement::Unknown | Agreement::Seen => {
                "no row has been seen yet at the time it says it was created".to_owned()
            }
        }
    }

    fn rest(&mut self, now: Time) {
        let pause = if self.sweep.is_asked() { Span::ZERO } else { self.rules.period };
        self.sweep.at = now.plus(pause);
    }

    /// Somebody asks for a reconciliation.
    pub(super) fn reconcile(&mut self, now: Time, wish: Reconciliation) {
        let away = self.away().map(str::to_owned);
        self.sweep.wished = Some(wish);
        if let Some(why) = away {
            self.sweep.fail(now, &why);
        }
    }

    /// The reconciliation that somebody asked for, when there is something new about it.
    pub(super) fn reconciled(&mut self) -> Option<Reconciliation> {
        let is_news = std::mem::take(&mut self.sweep.is_news);
        self.sweep.asked.clone().filter(|_| is_news)
    }

    /// No look has seen a row in time since the last reconciliation that ran by itself, or since the
    /// one before where somebody asked for this one.
    fn has_no_witness(&self) -> bool {
        let before = if self.sweep.is_asked() { self.look.fresh_before } else { 0 };
        self.look.fresh == 0 && before == 0
    }

    fn end_sweep(&mut self, now: Time) {
        self.figures.drift.overdue = std::mem::take(&mut self.sweep.overdue);
        self.figures.drift.stuck = std::mem::take(&mut self.sweep.stuck);
        self.figures.reconciled_at = Some(now);
        if self.sweep.is_asked() {
            let stage = reconciliation::Stage::Done;
            self.sweep.note(|asked| (asked.stage, asked.since) = (stage, now));
        } else {
            self.look.fresh_before = std::mem::take(&mut self.look.fresh);
        }
        self.sweep.at = now.plus(self.rules.reconcile);
    }

    /// A page of open rows: which of them have a deadline?
    pub(super) fn swept_table(&mut self, now: Time, rows: &[Row]) {
        self.rest(now);
        let left_to_looks = self.covered().minus(self.rules.overlap).minus(TOLERANCE);
        let mut asked = Vec::new();
        for row in rows {
            self.sweep.note(|asked| asked.rows += 1);
            let Ok(reading) = self.read(row) else {
                let key = key_of(&row.key).ok();
                self.sweep.note(|asked| asked.find(Drift::Unreadable, key.as_ref()));
                continue;
            };
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
        if matches!(answer, Answer::Deadline(_)) {
            self.follow(&reading.key, &mark, now);
        }
        let table = &self.rules.table;
        match answer {
            Answer::Deadline(record) => {
                let finding = compare::compare(RowNow::Open(reading), &record, table, now);
                self.sweep.stuck += u64::from(finding == Finding::Stuck);
                let is_dry = self.sweep.is_dry();
                // One that is pending comes again with the deadlines.
                if !(is_dry && record.state == State::Pending)
                    && let Some(drift) = drift(&finding)
                {
                    self.sweep.note(|asked| asked.find(drift, Some(&record.key)));
                }
                if is_dry {
                    return;
                }
                if let Some(command) = finding.remedy(&record, table) {
                    remedies.push((command, Told::Remedied(finding, ByWhom::Sweep)));
                }
            }
            Answer::Refused(Refusal::UnknownDeadline) if self.has_no_witness() => {
                let why = format!(
                    "row {} turned up long after it says it was created, and no row is seen when it \
                     is created: is time_zone right? If rows become open later, say how much later \
                     with overlap",
                    reading.key
                );
                self.sweep.note(|asked| asked.skipped = Some(why.clone()));
                if !self.sweep.is_dry() {
                    self.agree(Agreement::Mismatch(why));
                }
            }
            Answer::Refused(Refusal::UnknownDeadline) if mark.due <= now => {
                self.sweep.overdue += 1;
                self.sweep.note(|asked| asked.find(Drift::Overdue, Some(&reading.key)));
            }
            Answer::Refused(Refusal::UnknownDeadline) => {
                self.sweep.note(|asked| asked.find(Drift::Unarmed, Some(&reading.key)));
                if self.sweep.is_dry() {
                    return;
                }
                if self.agreement == Agreement::Seen && self.arming.room(now) > 0 {
                    self.arming.take(1);
                    self.figures.drift.unarmed += 1;
                    if self.sweep.is_asked() {
                        self.sweep.unarmed.insert(reading.key.clone());
                    }
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
        let mut found = Vec::new();
        let remedies = self.compared(now, records, rows, ByWhom::Sweep, &mut |finding, record| {
            found.extend(drift(finding).map(|drift| (drift, record.key.clone())));
        });
        self.sweep.note(|asked| {
            asked.deadlines += records.len() as u64;
            for (drift, key) in &found {
                asked.find(*drift, Some(key));
            }
        });
        if !remedies.is_empty() && !self.sweep.is_dry() {
            self.agenda.push_back(Step::Tell(remedies));
        }
    }
}
