//! The watch without its surroundings: told the time and what came back, it says what is next.
//!
//! `next` gives one thing to do; whoever does it comes back with `rows`, `told`, `kept` or `failed`
//! before asking again. There is never more than one thing under way, so a restart can fall between
//! any two of them, and the tests let it. What it has to do stands in an agenda; when that is empty
//! it begins what is due: a look for new rows, a second reading of those about to be due, a piece of
//! a reconciliation. It never waits, asks or decides whether an order is cancelled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use duly_engine::answer::Answer;
use duly_engine::command::Command;
use duly_engine::deadline::Deadline;
use duly_engine::id::{DeadlineId, Generation, Key, QueueName};
use duly_engine::time::{Span, Time};

use super::bookmark::Bookmark;
use super::compare::Finding;
use super::look::Look;
use super::observe::Followed;
use super::pace::Pace;
use super::recheck::Checked;
use super::row::{Cursor, Mark, Reading, Row, Zones};
use super::stamp::{self, Form};
use super::sweep::Sweep;
use crate::config::Watch;
use crate::database::Value;
use crate::metrics::{Trouble, WatchFigures};

/// Clocks may differ by this; more is another time zone or a clock that nobody keeps.
pub(super) const TOLERANCE: Span = Span::from_secs(60);
/// Rows asked for in one query.
pub(super) const PAGE: usize = 500;
/// The bookmark is written this often while nothing but the time moves on.
const KEEP_EVERY: Span = Span::from_secs(10);
/// Waits after failures: the first, and the longest.
const BACKOFF: (Span, Span) = (Span::from_secs(1), Span::from_secs(30));

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Ask the database; come back with `rows`.
    Query(Query),
    /// Ask the engine; come back with `told`.
    Tell(Vec<Command>),
    /// Make this durable; come back with `kept`.
    Keep(Bookmark),
    /// Nothing before this.
    Wait(Time),
}

/// A question to the database, in no database's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Query {
    /// Any row, to see what the column holds.
    Sample,
    /// The newest open row, created at or after this.
    Newest(Value),
    /// Open rows created at or after this, after the cursor, in the order of (created, key).
    Open {
        /// Created at or after.
        from: Value,
        /// After this row.
        after: Option<Cursor>,
        /// At most so many.
        limit: usize,
    },
    /// The rows with these keys, open or not.
    Keys(Vec<Key>),
}

/// What an answer of the database is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Sample,
    Newest,
    Look,
    Recheck(Vec<Deadline>),
    Follow(Vec<Key>),
    SweepTable,
    SweepRecords(Vec<Deadline>),
}

/// What an answer of the engine is for.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// A row was to become a deadline.
    Armed(Reading, Mark),
    /// The deadline of a row was asked for.
    Known(Reading, Mark),
    /// What a comparison found was to be put right.
    Remedied(Finding, ByWhom),
    /// A slice of the deadlines due soon.
    Soon,
    /// A slice of the pending deadlines, for the reconciliation.
    Pending,
    /// Lapses were to be held back.
    HeldBack,
    /// Are they still?
    IsHeldBack,
}

/// Who found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByWhom {
    /// The watch in its daily work.
    Watch,
    /// A reconciliation: it had been missed.
    Sweep,
}

/// Something on the agenda.
#[derive(Debug)]
pub(super) enum Step {
    Query(Query, Purpose),
    Tell(Vec<(Command, Told)>),
    Keep,
}

/// Do the table's times fit the server's clock?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// Nothing has shown it yet.
    Unknown,
    /// A row was seen when it said that it had been created.
    Seen,
    /// They do not; why.
    Mismatch(String),
}

/// A watch.
pub(super) struct Watcher {
    pub(super) queue: QueueName,
    pub(super) rules: Watch,
    /// What a restart begins with; none before the first start is durable.
    pub(super) bookmark: Option<Bookmark>,
    pub(super) agreement: Agreement,
    pub(super) form: Option<Form>,
    /// The zones that the table's times are read in.
    pub(super) zones: Zones,
    pub(super) look: Look,
    pub(super) checked: Checked,
    pub(super) sweep: Sweep,
    pub(super) arming: Pace,
    pub(super) acting: Pace,
    /// Lapses were paused because there were too many.
    pub(super) held_back: bool,
    pub(super) figures: WatchFigures,
    /// Where the watch only observes: what it follows and has seen.
    pub(super) followed: Option<Followed>,
    /// When the question under way was asked, or the last one.
    pub(super) asked_at: Time,
    pub(super) agenda: VecDeque<Step>,
    under_way: Option<UnderWay>,
    kept: (Option<Bookmark>, Time),
    away: Option<String>,
    pub(super) refused: Option<&'static str>,
    pub(super) retry_at: Time,
    backoff: Span,
}

/// What `next` gave and has not come back.
#[derive(Debug)]
enum UnderWay {
    Query(Purpose),
    Tell(Vec<Told>),
    Keep(Bookmark),
}

impl Watcher {
    /// A watch that goes on where the bookmark says; without one it is its first start.
    pub(super) fn new(queue: QueueName, rules: Watch, bookmark: Option<Bookmark>) -> Watcher {
        let agrees = bookmark.as_ref().is_some_and(|bookmark| bookmark.agreed);
        Watcher {
            look: Look::default(),
            checked: Checked::default(),
            sweep: Sweep::default(),
            arming: Pace::new(rules.max_per_minute),
            acting: Pace::new(rules.max_per_minute),
            held_back: false,
            figures: WatchFigures { observes: !rules.acts, ..WatchFigures::default() },
            followed: (!rules.acts).then(|| Followed::new(&rules.report)),
            asked_at: Time::ZERO,
            agenda: VecDeque::new(),
            under_way: None,
            agreement: if agrees { Agreement::Seen } else { Agreement::Unknown },
            form: None,
            zones: Zones::all(&rules.time_zone),
            kept: (bookmark.clone(), Time::ZERO),
            away: None,
            refused: None,
            retry_at: Time::ZERO,
            backoff: BACKOFF.0,
            queue,
            rules,
            bookmark,
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Time) -> Act {
        assert!(self.under_way.is_none(), "the last thing has not come back");
        loop {
            if let Some(step) = self.agenda.pop_front() {
                return self.give(step, now);
            }
            if now < self.retry_at {
                return Act::Wait(self.retry_at);
            }
            if self.kept.0.is_none() {
                // Before anything else: a restart must not move the beginning.
                self.bookmark = Some(Bookmark::first(&self.rules, now));
                self.agenda.push_back(Step::Keep);
                continue;
            }
            if let Some(later) = self.begin(now) {
                return Act::Wait(later.max(now.plus(Span::from_millis(1))));
            }
        }
    }

    fn give(&mut self, step: Step, now: Time) -> Act {
        match step {
            Step::Query(query, purpose) => {
                self.figures.queries += 1;
                self.asked_at = now;
                self.under_way = Some(UnderWay::Query(purpose));
                Act::Query(query)
            }
            Step::Tell(asked) => {
                let (commands, told) = asked.into_iter().unzip();
                self.under_way = Some(UnderWay::Tell(told));
                Act::Tell(commands)
            }
            Step::Keep => {
                let bookmark = self.bookmark.clone().expect("it is made before it is kept");
                self.kept.1 = now;
                self.under_way = Some(UnderWay::Keep(bookmark.clone()));
                Act::Keep(bookmark)
            }
        }
    }

    /// Puts what is due on the agenda, or says when something will be.
    fn begin(&mut self, now: Time) -> Option<Time> {
        let recheck = self.begin_recheck(now)?;
        let follow = self.begin_follow(now)?;
        let look = self.begin_look(now)?;
        let sweep = self.begin_sweep(now)?;
        Some(recheck.min(follow).min(look).min(sweep))
    }

    /// The database answered.
    pub(super) fn rows(&mut self, now: Time, rows: &[Row]) {
        let Some(UnderWay::Query(purpose)) = self.under_way.take() else {
            panic!("rows came and none were asked for")
        };
        (self.away, self.backoff) = (None, BACKOFF.0);
        self.figures.rows = self.figures.rows.saturating_add(rows.len() as u64);
        match purpose {
            Purpose::Sample => self.sampled(now, rows),
            Purpose::Newest => self.newest(now, rows),
            Purpose::Look => self.looked(now, rows),
            Purpose::Recheck(records) => {
                self.observe(now, records.iter().map(|record| &record.key), rows);
                self.rechecked(now, &records, rows);
            }
            Purpose::Follow(keys) => self.observe(now, &keys, rows),
            Purpose::SweepTable => self.swept_table(now, rows),
            Purpose::SweepRecords(records) => {
                self.observe(now, records.iter().map(|record| &record.key), rows);
                self.swept_records(now, &records, rows);
            }
        }
        self.tell_trouble();
    }

    /// The database could not be asked. Nothing is lost: what was under way begins anew.
    pub(super) fn failed(&mut self, now: Time, why: String) {
        self.under_way = None;
        self.agenda.clear();
        self.look.abandon();
        self.sweep.abandon(now);
        self.sweep.fail(now, &why);
        self.away = Some(why);
        self.retry_at = now.plus(self.backoff);
        self.backoff = self.backoff.plus(self.backoff).min(BACKOFF.1);
        self.tell_trouble();
    }

    /// The engine answered.
    pub(super) fn told(&mut self, now: Time, answers: Vec<Answer>) {
        let Some(UnderWay::Tell(told)) = self.under_way.take() else {
            panic!("answers came and none were asked for")
        };
        assert_eq!(told.len(), answers.len(), "every command has its answer");
        self.refused = None;
        let mut remedies = Vec::new();
        for (told, answer) in told.into_iter().zip(answers) {
            match told {
                Told::Armed(reading, mark) => {
                    self.armed(now, reading, &mark, answer, &mut remedies);
                }
                Told::Known(reading, mark) => {
                    self.known(now, reading, mark, answer, &mut remedies);
                }
                Told::Remedied(finding, by) => self.remedied(now, &finding, by, answer),
                Told::Soon => self.soon(now, answer),
                Told::Pending => self.pending(answer),
                Told::HeldBack => {}
                Told::IsHeldBack => self.is_held_back(now, &answer),
            }
        }
        if !remedies.is_empty() {
            self.agenda.push_front(Step::Tell(remedies));
        }
        if self.refused.is_some() {
            self.agenda.clear();
            self.look.abandon();
            self.retry_at = now.plus(BACKOFF.0);
        }
        self.tell_trouble();
    }

    /// The bookmark is durable.
    pub(super) fn kept(&mut self) {
        let Some(UnderWay::Keep(bookmark)) = self.under_way.take() else {
            panic!("a bookmark was kept and none was to be")
        };
        self.kept.0 = Some(bookmark);
        (self.away, self.backoff) = (None, BACKOFF.0);
        self.tell_trouble();
    }

    /// The table's times are to be read in these zones: a column's own, if it carries one.
    pub(super) fn read_in(&mut self, zones: Zones) {
        self.zones = zones;
    }

    /// Why the database cannot be asked, if it cannot.
    pub(super) fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    /// Figures for whoever shows them.
    pub(super) fn figures(&self) -> &WatchFigures {
        &self.figures
    }

    /// The bookmark, once it says something that a restart should know and the disk does not.
    pub(super) fn keep_if_needed(&mut self, now: Time) {
        let (Some(bookmark), Some(kept)) = (&self.bookmark, &self.kept.0) else { return };
        let is_old = now.since(self.kept.1) >= KEEP_EVERY && bookmark.covered != kept.covered;
        if bookmark.agreed != kept.agreed || is_old {
            self.agenda.push_back(Step::Keep);
        }
    }

    /// From now on the table's times are, or are not, believed.
    pub(super) fn agree(&mut self, agreement: Agreement) {
        if let Some(bookmark) = &mut self.bookmark {
            bookmark.agreed = agreement == Agreement::Seen;
        }
        self.agreement = agreement;
    }

    /// What the column holds at this time.
    pub(super) fn bound(&self, at: Time) -> Value {
        let form = self.form.expect("the column is sampled before it is searched");
        stamp::bound(at, form, &self.zones.created)
    }

    /// Rows created before this are not looked for.
    pub(super) fn start(&self) -> Time {
        self.bookmark.as_ref().map_or(Time::ZERO, |bookmark| bookmark.start)
    }

    /// Every row created and committed before this has been seen.
    pub(super) fn covered(&self) -> Time {
        self.bookmark.as_ref().map_or(Time::ZERO, |bookmark| bookmark.covered)
    }

    /// Looks for new rows go back to this: rows of transactions that commit late are among them.
    pub(super) fn floor(&self) -> Time {
        let back = self.rules.overlap.plus(TOLERANCE);
        self.covered().minus(back).max(self.start())
    }

    /// Was it created just now, as far as clocks and late commits let one see?
    pub(super) fn is_fresh(&self, created: Time, now: Time) -> bool {
        let age = now.since(created);
        created <= now.plus(TOLERANCE) && age <= self.rules.overlap.plus(TOLERANCE)
    }

    /// Reads a row; one that cannot be read is counted and left alone.
    pub(super) fn read(&self, row: &Row) -> Result<Reading, String> {
        row.read(&self.rules.due, &self.zones)
    }

    fn tell_trouble(&mut self) {
        let trouble = if let Some(why) = &self.away {
            Some(Trouble::Away(why.clone()))
        } else if let Agreement::Mismatch(why) = &self.agreement {
            Some(Trouble::ClockMismatch(why.clone()))
        } else if self.held_back {
            Some(Trouble::TooManyLapses)
        } else if let Some(code) = self.refused {
            Some(Trouble::Refused(code))
        } else {
            self.look.is_paced.then_some(Trouble::TooManyRows)
        };
        self.figures.trouble = trouble;
        self.figures.covered = self.covered();
    }
}

/// Which deadlines are which, for the lists that a watch keeps for a while.
pub(super) type Life = (Time, DeadlineId, Generation);

/// Rows by the keys of their deadlines.
pub(super) fn by_key(rows: &[Row]) -> BTreeMap<Key, &Row> {
    rows.iter().filter_map(|row| Some((super::row::key_of(&row.key).ok()?, row))).collect()
}

/// The life that a record is.
pub(super) fn life(record: &Deadline) -> Life {
    (record.due, record.id, record.generation)
}

/// Lives that have been dealt with.
pub(super) type Lives = BTreeSet<Life>;
