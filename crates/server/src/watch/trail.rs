//! The trail of one row: when it was seen in which state, and what follows from that.
//!
//! For a watch that only observes. Between two looks anything may have happened, so every change is
//! known to lie between two instants; a column that tells the time of the change is believed where it
//! fits between them, and else not. A row is looked at more often the nearer it is to its due time or
//! to its closing, and for an hour after both: who was cancelled may turn out to be paid. Nothing
//! here asks a table or knows another row.

use duly_engine::id::Key;
use duly_engine::time::{Span, Time};

use super::stamp::Instants;
use crate::metrics::{Case, Fate, Instead, When};

/// A closed row is looked at for so long after it was due and closed.
const TAIL: Span = Span::from_hours(1);
/// A column's time may be outside of what was seen by this: whole seconds, and clocks that differ.
const SLACK: Span = Span::from_secs(2);
/// What a column of whole seconds leaves open.
const SECOND: Span = Span::from_millis(999);

/// What a look saw of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It meets the watch's condition.
    Open {
        /// When it is due.
        due: Time,
        /// Was it paid all the same?
        paid: bool,
    },
    /// It does not.
    Closed {
        /// As cancelled?
        cancelled: bool,
        /// Was it paid?
        paid: bool,
        /// When it was changed, if a column says so.
        changed: Option<Instants>,
    },
    /// It is not there.
    Gone,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trail {
    due: Time,
    /// The last look that found it began then.
    seen: Time,
    closed: Option<When>,
    cancelled: Option<When>,
    paid: Option<When>,
    /// It was seen cancelled and not paid, and only then paid.
    paid_after: bool,
    instead: Option<Instead>,
}

impl Trail {
    /// A row that a look, begun at `asked`, found open.
    pub(super) fn new(due: Time, asked: Time) -> Trail {
        let mut trail = Trail {
            due,
            seen: asked,
            closed: None,
            cancelled: None,
            paid: None,
            paid_after: false,
            instead: None,
        };
        trail.see(Seen::Open { due, paid: false }, asked, asked);
        trail
    }

    /// A look that began at `asked` came back at `now`.
    pub(super) fn see(&mut self, seen: Seen, asked: Time, now: Time) {
        let between = When { earliest: self.seen.min(now), latest: now, told: false };
        match seen {
            Seen::Open { due, paid } => {
                (self.closed, self.cancelled, self.paid_after) = (None, None, false);
                self.paid = self.paid.or(between_if(paid, between)).filter(|_| paid);
                self.due = due;
                if asked >= due {
                    self.instead.get_or_insert(Instead::Cancelled);
                } else {
                    self.instead = None;
                }
            }
            Seen::Closed { cancelled, paid, changed } => {
                let told = changed.map_or(between, |changed| told(changed, between));
                self.paid_after |= paid && self.paid.is_none() && self.cancelled.is_some();
                let (is_paid, is_cancelled) =
                    (paid && self.paid.is_none(), cancelled && self.cancelled.is_none());
                // Of two changes since the last look a column tells the last, and not which that was.
                let told = if is_paid && is_cancelled {
                    When { earliest: between.earliest.min(told.latest), told: false, ..told }
                } else {
                    told
                };
                self.paid = self.paid.or(between_if(paid, told));
                self.cancelled = self.cancelled.or(between_if(cancelled, told));
                self.close(told);
            }
            Seen::Gone => self.close(between),
        }
        self.seen = asked;
    }

    fn close(&mut self, when: When) {
        let closed = *self.closed.get_or_insert(when);
        if self.instead.is_none() {
            self.instead = Some(if closed.latest < self.due {
                Instead::Kept
            } else if closed.earliest >= self.due {
                Instead::Cancelled
            } else {
                Instead::Unclear
            });
        }
    }

    /// What has become of it; none while it is open.
    pub(super) fn fate(&self) -> Option<Fate> {
        let closed = self.closed?;
        let is_early = |when: When| when.latest < self.due;
        Some(match (self.cancelled, self.paid) {
            (Some(_), Some(_)) if self.paid_after => Fate::PaidAfterCancelled,
            (Some(_), Some(_)) => Fate::CancelledAlthoughPaid,
            (Some(cancelled), None) if is_early(cancelled) => Fate::CancelledEarly,
            (Some(_), None) => Fate::CancelledLate,
            (None, Some(paid)) if is_early(paid) => Fate::PaidInTime,
            (None, Some(paid)) if paid.earliest < self.due => Fate::PaidAboutDue,
            (None, Some(_)) => Fate::PaidLate,
            (None, None) if is_early(closed) => Fate::ClosedEarly,
            (None, None) => Fate::ClosedLate,
        })
    }

    /// What Duly would have done, once that is known.
    pub(super) fn instead(&self) -> Option<Instead> {
        self.instead
    }

    /// Was it open when it was due, and paid before that?
    pub(super) fn is_open_although_paid(&self) -> bool {
        self.instead == Some(Instead::Cancelled)
            && self.paid.is_some_and(|paid| paid.latest < self.due)
    }

    /// Is it open?
    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// When it is due.
    pub(super) fn due(&self) -> Time {
        self.due
    }

    /// The row by its name, as it is shown.
    pub(super) fn case(&self, key: &Key) -> Case {
        Case {
            key: key.clone(),
            due: self.due,
            closed: self.cancelled.or(self.closed),
            paid: self.paid,
            instead: self.instead,
        }
    }

    /// When to look at it again: no more often than once a `period`, and while it is open at least
    /// once in `rarely`. None if nothing is expected of it any more.
    pub(super) fn next(&self, now: Time, period: Span, rarely: Span) -> Option<Time> {
        if now < self.due {
            return Some(self.due);
        }
        let Some(closed) = self.closed else {
            let late = now.since(self.due).millis();
            let wait = (late / 100).min(rarely.millis()).max(period.millis());
            return Some(now.plus(Span::from_millis(wait)));
        };
        let from = self.cancelled.unwrap_or(closed).latest.max(self.due);
        let age = now.since(from);
        let wait = Span::from_millis((age.millis() / 2).max(period.millis()));
        (age < TAIL).then(|| now.plus(wait))
    }
}

fn between_if(is_so: bool, when: When) -> Option<When> {
    is_so.then_some(when)
}

/// What a column told about a change that was seen to lie between two instants; where the two do not
/// fit it is not believed.
fn told(changed: Instants, between: When) -> When {
    let fits = |at: Time| {
        // One of whole seconds may have cut the rest off, but not beyond when it was seen.
        let cut = if at.millis().is_multiple_of(1_000) { SECOND } else { Span::ZERO };
        let latest = at.plus(cut).min(between.latest).max(at);
        let may_be = at <= between.latest.plus(SLACK) && latest >= between.earliest.minus(SLACK);
        may_be.then_some(When { earliest: at, latest, told: true })
    };
    fits(changed.earliest).or_else(|| fits(changed.latest)).unwrap_or(between)
}
