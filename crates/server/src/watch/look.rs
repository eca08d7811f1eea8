//! Looking for new rows.
//!
//! A look reads the open rows created since the last one, and again those of the overlap, because a
//! transaction that began earlier may have committed since. What it has seen it remembers for as
//! long as the overlap lasts. When so much is going on that the overlap takes many pages, it is read
//! again less often, and between two such readings only what comes after the last row.
//!
//! Before anything is armed the table's times must be seen to fit the server's clock: some row must
//! have been there when it said it was created. Rows from the future, and rows that were overdue
//! when they were created, end that trust; another time zone would make every order late or early.

use std::collections::BTreeMap;

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::Command;
use duly_engine::id::Key;
use duly_engine::time::{Span, Time};

use super::compare::{self, RowNow};
use super::row::{Cursor, Mark, Reading, Row, key_of};
use super::stamp::{self, Form, Instants};
use super::watcher::{Agreement, ByWhom, PAGE, Purpose, Query, Step, TOLERANCE, Told, Watcher};
use crate::config::WatchDue;
use crate::database::Value;
use crate::units::show_instant;

/// Where the looking stands.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The next look.
    at: Time,
    /// The next one that reads the overlap again.
    back_at: Time,
    /// The last row there was, in the table's order.
    frontier: Option<Cursor>,
    /// Rows that need no second glance: when they were created and when due.
    seen: BTreeMap<Key, Mark>,
    under_way: Option<UnderWay>,
    /// The last look had to leave rows for the next minute.
    pub(super) is_paced: bool,
    /// Rows seen when they were created, since the last reconciliation.
    pub(super) fresh: u64,
    /// The same between the last two.
    pub(super) fresh_before: u64,
    unreadable: u64,
}

/// A look that has begun.
#[derive(Debug)]
struct UnderWay {
    began: Time,
    goes_back: bool,
    pages: u64,
    is_last_page: bool,
}

impl Look {
    /// What was under way begins anew, with the overlap.
    pub(super) fn abandon(&mut self) {
        self.under_way = None;
        self.back_at = Time::ZERO;
    }
}

impl Watcher {
    /// Begins a look if it is time, else says when it is.
    pub(super) fn begin_look(&mut self, now: Time) -> Option<Time> {
        if let Some(under_way) = &self.look.under_way
            && under_way.is_last_page
        {
            self.end_look(now);
        }
        if now < self.look.at {
            return Some(self.look.at);
        }
        self.look.at = now.plus(self.rules.period);
        if self.form.is_none() {
            self.agenda.push_back(Step::Query(Query::Sample, Purpose::Sample));
        } else if self.agreement == Agreement::Seen {
            self.ask_for_rows(now);
        } else {
            let from = now.minus(self.rules.overlap).minus(TOLERANCE).max(self.start());
            let query = Query::Newest(self.bound(from));
            self.agenda.push_back(Step::Query(query, Purpose::Newest));
        }
        None
    }

    fn ask_for_rows(&mut self, now: Time) {
        let goes_back = now >= self.look.back_at || self.look.frontier.is_none();
        let after = if goes_back { None } else { self.look.frontier.clone() };
        self.look.under_way =
            Some(UnderWay { began: now, goes_back, pages: 0, is_last_page: false });
        self.look.unreadable = 0;
        let from = self.bound(self.floor());
        self.ask_for_page(from, after);
    }

    fn ask_for_page(&mut self, from: Value, after: Option<Cursor>) {
        let query = Query::Open { from, after, limit: PAGE };
        self.agenda.push_back(Step::Query(query, Purpose::Look));
    }

    /// What the column holds is known once there is a row.
    pub(super) fn sampled(&mut self, now: Time, rows: &[Row]) {
        self.form = rows.first().and_then(|row| Form::of(&row.created));
        if self.form.is_some() {
            self.look.at = now;
        }
    }

    /// The newest row says whether the table's times fit the clock.
    pub(super) fn newest(&mut self, now: Time, rows: &[Row]) {
        let Some(row) = rows.first() else { return };
        let Ok(created) = stamp::read(&row.created, &self.zones.created) else { return };
        let due = self.read(row).ok().map(|reading| reading.due);
        let fits = self.fits_the_clock(&row.key, created, due, now);
        if fits && self.is_fresh(created.earliest, now) {
            self.agree(Agreement::Seen);
            self.keep_if_needed(now);
            self.look.at = now;
        }
    }

    /// A page of open rows.
    pub(super) fn looked(&mut self, now: Time, rows: &[Row]) {
        let floor = self.floor();
        let last = rows.last().map(Row::cursor);
        let is_last_page = rows.len() < PAGE;
        let mut wanted = Vec::new();
        for row in rows {
            let Ok(reading) = self.read(row) else {
                self.look.unreadable += 1;
                continue;
            };
            if !self.fits_the_clock(&row.key, reading.created, Some(reading.due), now) {
                self.look.abandon();
                return;
            }
            let mark = reading.mark(now.plus(TOLERANCE));
            if mark.created < self.start() {
                continue;
            }
            if self.is_fresh(mark.created, now) && !self.look.seen.contains_key(&reading.key) {
                self.look.fresh += 1;
            }
            let known = self.look.seen.get(&reading.key);
            if known.is_none_or(|known| !reading.due.may_be(known.due)) {
                wanted.push((reading, mark));
            }
        }
        let room = self.arming.room(now);
        self.look.is_paced = wanted.len() > room;
        wanted.truncate(room);
        self.arming.take(wanted.len());
        if !wanted.is_empty() {
            let asked = wanted.into_iter().map(|(reading, mark)| {
                let command = compare::arm(&self.queue, &reading, &mark, &self.rules.table);
                (command, Told::Armed(reading, mark))
            });
            self.agenda.push_back(Step::Tell(asked.collect()));
        }
        self.figures.unreadable = self.look.unreadable;
        if self.look.is_paced {
            self.look.abandon();
            self.look.at = self.arming.room_at();
            return;
        }
        if last.is_some() {
            self.look.frontier.clone_from(&last);
        }
        let Some(under_way) = &mut self.look.under_way else { return };
        under_way.pages += 1;
        under_way.is_last_page = is_last_page;
        if !is_last_page {
            let from = self.bound(floor);
            self.ask_for_page(from, last);
        }
    }

    /// Everything there was has been armed, durably.
    fn end_look(&mut self, now: Time) {
        let Some(ended) = self.look.under_way.take() else { return };
        if !ended.goes_back {
            return;
        }
        if let Some(bookmark) = &mut self.bookmark {
            bookmark.covered = bookmark.covered.max(ended.began);
        }
        let pages = Span::from_millis(self.rules.period.millis().saturating_mul(ended.pages));
        self.look.back_at = ended.began.plus(pages);
        self.figures.covered = self.covered();
        let floor = self.floor().minus(TOLERANCE);
        self.look.seen.retain(|_, mark| mark.created >= floor);
        self.keep_if_needed(now);
    }

    /// Is it possible that this row was created when it says so? If not, nothing is armed any more.
    fn fits_the_clock(
        &mut self,
        key: &Value,
        created: Instants,
        due: Option<Instants>,
        now: Time,
    ) -> bool {
        let created = created.earliest;
        let row = key_of(key).map_or_else(|why| why, |key| key.to_string());
        let why = if created > now.plus(TOLERANCE) {
            format!(
                "row {row} says that it was created at {}, which is still to come: is time_zone \
                 right, and the clock?",
                show_instant(created)
            )
        } else if let Some(due) = due.filter(|due| due.latest <= created)
            && matches!(self.rules.due, WatchDue::Column(_))
            && self.is_fresh(created, now)
        {
            let due = show_instant(due.latest);
            format!("row {row} was due at {due}, before it was created: is time_zone right?")
        } else {
            return true;
        };
        self.agree(Agreement::Mismatch(why));
        self.keep_if_needed(now);
        false
    }

    /// A row became a deadline, or had one.
    pub(super) fn armed(
        &mut self,
        now: Time,
        reading: Reading,
        mark: &Mark,
        answer: Answer,
        remedies: &mut Vec<(Command, Told)>,
    ) {
        if matches!(answer, Answer::Scheduled { .. }) {
            self.follow(&reading.key, mark, now);
        }
        match answer {
            Answer::Scheduled { created: true, deadline, .. } => {
                self.figures.armed += 1;
                self.sweep.armed(&reading.key);
                self.look.seen.insert(reading.key, mark.clone());
                self.expect_soon(now, *deadline);
            }
            Answer::Scheduled { deadline, .. } => {
                self.look.seen.insert(reading.key.clone(), mark.clone());
                let table = &self.rules.table;
                let finding = compare::compare(RowNow::Open(reading), &deadline, table, now);
                if let Some(command) = finding.remedy(&deadline, table) {
                    remedies.push((command, Told::Remedied(finding, ByWhom::Watch)));
                }
            }
            // Nothing that could be put right by trying again.
            Answer::Refused(Refusal::DueTooFar) => self.figures.unreadable += 1,
            Answer::Refused(refusal) => self.refused = Some(refusal.code()),
            other => unreachable!("a schedule was answered with {other:?}"),
        }
    }
}
