//! Observe mode: follows every row that was seen open, past its due time and on until somebody has
//! closed it, and keeps the account of what the shop has today did with it.
//!
//! The table is only read, a page of rows by their keys at a time, one round a period at most, and
//! only while rows are expected to change. Rows are forgotten when nothing is expected of them any
//! more; how many there may be at a time is bounded, and those beyond are counted. The account is
//! kept in memory and begins with the process.

use std::collections::{BTreeMap, BTreeSet};

use duly_engine::id::Key;
use duly_engine::time::{Span, Time};

use super::row::{Mark, Row, key_of};
use super::stamp;
use super::trail::{Seen, Trail};
use super::watcher::{PAGE, Purpose, Query, Step, TOLERANCE, Watcher};
use crate::config::WatchReport;
use crate::metrics::{Case, Fate, Instead, LONG, NAMED, Observed, Overdue, Tells};
use crate::units::show_instant;

/// Rows that are followed at a time.
const MOST: usize = 100_000;
/// Pages read in one round; the others wait for the next.
const PAGES: usize = 10;

/// The rows that are followed, and what has been observed.
#[derive(Debug)]
pub(super) struct Followed {
    observed: Observed,
    trails: BTreeMap<Key, (Trail, Time)>,
    /// When to look at which of them again.
    next: BTreeSet<(Time, Key)>,
    /// The next round is not before this.
    at: Time,
    /// Looks that saw any of them: when that has changed, so may have the account.
    looks: u64,
}

impl Followed {
    /// Nothing yet.
    pub(super) fn new(report: &WatchReport) -> Followed {
        let tells = Tells {
            cancelled: report.cancelled.is_some(),
            paid: report.paid.is_some(),
            changed: report.changed.is_some(),
        };
        Followed {
            observed: Observed::new(tells),
            trails: BTreeMap::new(),
            next: BTreeSet::new(),
            at: Time::ZERO,
            looks: 0,
        }
    }

    /// What has been observed up to now.
    pub(super) fn account(&self, now: Time) -> Observed {
        let mut observed = self.observed.clone();
        observed.until = now;
        let open = || self.trails.iter().filter(|(_, (trail, _))| trail.is_open());
        // One that has just become due is overdue once a look has found it open.
        let is_overdue = |trail: &Trail| trail.due() <= now && trail.instead().is_some();
        let mut overdue = Overdue::default();
        let mut first: BTreeSet<(Time, &Key)> = BTreeSet::new();
        for (key, (trail, _)) in open().filter(|(_, (trail, _))| is_overdue(trail)) {
            overdue.count += 1;
            overdue.long += u64::from(now.since(trail.due()) > LONG);
            first.insert((trail.due(), key));
            if first.len() > NAMED {
                first.pop_last();
            }
        }
        let case = |(_, key): (Time, &Key)| Some(self.trails.get(key)?.0.case(key));
        overdue.first = first.into_iter().filter_map(case).collect();
        observed.open = open().filter(|(_, (trail, _))| !is_overdue(trail)).count() as u64;
        observed.overdue = overdue;
        observed
    }

    /// A look found this row open.
    fn follow(&mut self, key: &Key, due: Time, asked: Time, now: Time) {
        if self.trails.contains_key(key) {
            return;
        }
        if self.trails.len() >= MOST {
            self.observed.unfollowed += 1;
            return;
        }
        self.observed.followed += 1;
        let trail = Trail::new(due, asked);
        self.account_for(key, None, &trail);
        let next = due.max(now);
        self.next.insert((next, key.clone()));
        self.trails.insert(key.clone(), (trail, next));
    }

    /// A look saw a row that may be among them.
    fn see(&mut self, key: &Key, seen: Seen, looked: (Time, Time), pace: (Span, Span)) {
        let Some((before, next)) = self.trails.remove(key) else { return };
        self.next.remove(&(next, key.clone()));
        let (asked, now) = looked;
        let mut trail = before.clone();
        trail.see(seen, asked, now);
        self.account_for(key, Some(&before), &trail);
        if let Some(next) = trail.next(now, pace.0, pace.1) {
            self.next.insert((next, key.clone()));
            self.trails.insert(key.clone(), (trail, next));
        }
    }

    /// Enters into the account what has changed about a row.
    fn account_for(&mut self, key: &Key, before: Option<&Trail>, after: &Trail) {
        let observed = &mut self.observed;
        let (was, is) = (before.and_then(Trail::instead), after.instead());
        if was != is {
            for (instead, is_so) in
                was.map(|it| (it, false)).into_iter().chain(is.map(|it| (it, true)))
            {
                observed.would(instead, is_so);
            }
        }
        let was_open_paid = before.is_some_and(Trail::is_open_although_paid);
        match (was_open_paid, after.is_open_although_paid()) {
            (false, true) => observed.open_although_paid += 1,
            (true, false) => observed.open_although_paid -= 1,
            _ => {}
        }
        let met = |trail: &Trail| Some((trail.fate()?, trail.case(key)));
        let (was, is): (_, Option<(_, Case)>) = (before.and_then(met), met(after));
        if was != is {
            if let Some((fate, case)) = was {
                observed.take(fate, &case);
            }
            if let Some((fate, case)) = is {
                observed.add(fate, case);
            }
        }
    }
}

impl Watcher {
    /// Begins a round over the rows of which something is expected, or says when there will be one.
    pub(super) fn begin_follow(&mut self, now: Time) -> Option<Time> {
        const LATER: Span = Span::from_mins(1);
        let Some(followed) = &mut self.followed else { return Some(now.plus(LATER)) };
        if followed.observed.since == Time::ZERO {
            followed.observed.since = now;
        }
        let Some((first, _)) = followed.next.first() else { return Some(now.plus(LATER)) };
        let at = (*first).max(followed.at);
        if now < at {
            return Some(at);
        }
        followed.at = now.plus(self.rules.period);
        let due = followed.next.iter().take_while(|(next, _)| *next <= now);
        let keys: Vec<Key> = due.take(PAGE * PAGES).map(|(_, key)| key.clone()).collect();
        for page in keys.chunks(PAGE) {
            let query = Query::Keys(page.to_vec());
            self.agenda.push_back(Step::Query(query, Purpose::Follow(page.to_vec())));
        }
        None
    }

    /// From now on this row is followed, if the watch only observes.
    pub(super) fn follow(&mut self, key: &Key, mark: &Mark, now: Time) {
        let asked = self.asked_at;
        if let Some(followed) = &mut self.followed {
            followed.follow(key, mark.due, asked, now);
        }
    }

    /// What a look by keys saw; those that were asked for and are not there are gone.
    pub(super) fn observe<'a>(
        &mut self,
        now: Time,
        keys: impl IntoIterator<Item = &'a Key>,
        rows: &[Row],
    ) {
        let Some(mut followed) = self.followed.take() else { return };
        followed.looks += 1;
        let pace = (self.rules.period, self.rules.reconcile);
        let looked = (self.asked_at, now);
        let mut gone: BTreeSet<&Key> = keys.into_iter().collect();
        for row in rows {
            let Ok(key) = key_of(&row.key) else { continue };
            gone.remove(&key);
            if let Some(seen) = self.seen(row, now) {
                followed.see(&key, seen, looked, pace);
            }
        }
        for key in gone {
            followed.see(key, Seen::Gone, looked, pace);
        }
        self.followed = Some(followed);
    }

    /// A row as it stands; none of one that is open and cannot be read, which is looked at again.
    fn seen(&self, row: &Row, now: Time) -> Option<Seen> {
        if row.is_open {
            let mark = self.read(row).ok()?.mark(now.plus(TOLERANCE));
            return Some(Seen::Open { due: mark.due, paid: row.is_paid });
        }
        let changed = row.changed.as_ref();
        let changed = changed.and_then(|value| stamp::read(value, &self.zones.changed).ok());
        Some(Seen::Closed { cancelled: row.is_cancelled, paid: row.is_paid, changed })
    }

    /// Looks that may have changed what has been observed.
    pub(super) fn looks(&self) -> u64 {
        self.followed.as_ref().map_or(0, |followed| followed.looks)
    }

    /// What has been observed up to now; none of a watch that acts or has not begun.
    pub(super) fn observed(&self, now: Time) -> Option<Observed> {
        let followed = self.followed.as_ref()?;
        (followed.observed.since > Time::ZERO).then(|| followed.account(now))
    }
}

/// Says in the log what has been observed.
pub(super) fn say(watch: &str, observed: &Observed) {
    let count = |fate| observed.count(fate);
    let late = |percent| observed.delays.quantile(percent).to_string();
    tracing::info!(
        watch,
        since = show_instant(observed.since),
        followed = observed.followed,
        cancelled_although_paid = count(Fate::CancelledAlthoughPaid),
        cancelled_early = count(Fate::CancelledEarly),
        cancelled_late = count(Fate::CancelledLate),
        paid_late = count(Fate::PaidLate),
        overdue = observed.overdue.count,
        late_median = late(50),
        late_p99 = late(99),
        late_worst = late(100),
        would_have_cancelled = observed.instead(Instead::Cancelled),
        would_have_kept = observed.instead(Instead::Kept),
        "what a watch has observed; the rows are in `duly watch report`"
    );
}
