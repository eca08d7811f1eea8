//! A row beside the deadline that was made from it: what differs, and what follows from that.
//!
//! The mark says what the deadline was made from, so a due time that somebody extended over the API
//! is no difference, and a row whose own due time has changed is one. The shop's row is the truth
//! about whether an order is open; the deadline is the truth about when it is asked.

use duly_engine::command::{Address, Command, IfExists, Schedule, Settle, When};
use duly_engine::deadline::{Deadline, State};
use duly_engine::id::{Outcome, QueueName};
use duly_engine::time::Time;

use super::row::{Mark, Reading, Row, named};

/// What a row says now.
#[derive(Clone, Debug)]
pub(super) enum RowNow {
    /// It is not there.
    Gone,
    /// It no longer meets the condition.
    Closed(Outcome),
    /// It still does.
    Open(Reading),
    /// It is there and cannot be read: left to the guard.
    Unreadable,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// All is as it should be, or somebody else's.
    Fits,
    /// The row is closed or gone, and the deadline is still pending.
    Closed(Outcome),
    /// The row's due time is another than it was.
    Moved(Mark),
    /// The row was opened again, with a due time ahead.
    Reopened(Mark),
    /// The deadline is over and the row still open: the action did not change it, or somebody
    /// settled over the API what the table does not know.
    Stuck,
}

/// Compares; `now` tells a due time ahead from one that has passed.
pub(super) fn compare(row: RowNow, record: &Deadline, table: &str, now: Time) -> Finding {
    let mark = Mark::of(record, table);
    if record.state != State::Pending {
        let under_way = record.state == State::Lapsed && !record.is_final();
        let RowNow::Open(reading) = row else { return Finding::Fits };
        return match mark {
            Some(mark)
                if !reading.due.may_be(mark.due) && reading.due.latest > now && !under_way =>
            {
                Finding::Reopened(reading.mark(now))
            }
            Some(_) if !under_way => Finding::Stuck,
            _ => Finding::Fits,
        };
    }
    let Some(mark) = mark else { return Finding::Fits };
    match row {
        RowNow::Gone => Finding::Closed(named("deleted")),
        RowNow::Closed(outcome) => Finding::Closed(outcome),
        RowNow::Open(reading) if !reading.due.may_be(mark.due) => Finding::Moved(reading.mark(now)),
        RowNow::Open(_) | RowNow::Unreadable => Finding::Fits,
    }
}

impl RowNow {
    /// What was found under a key.
    pub(super) fn of(found: Option<(&Row, Result<Reading, String>)>) -> RowNow {
        match found {
            None => RowNow::Gone,
            Some((row, _)) if !row.is_open => RowNow::Closed(row.closed_as()),
            Some((_, Ok(reading))) => RowNow::Open(reading),
            Some((_, Err(_))) => RowNow::Unreadable,
        }
    }
}

impl Finding {
    /// The command that puts it right; none where there is nothing to do or nothing that may be done.
    pub(super) fn remedy(&self, record: &Deadline, table: &str) -> Option<Command> {
        let at = Address { queue: record.queue.clone(), key: record.key.clone() };
        match self {
            Finding::Fits | Finding::Stuck => None,
            Finding::Closed(outcome) => Some(Command::Settle(Settle {
                at,
                outcome: outcome.clone(),
                remember: None,
                generation: Some(record.generation),
            })),
            Finding::Moved(mark) => Some(schedule(at, mark, table, IfExists::Replace)),
            Finding::Reopened(mark) => Some(schedule(at, mark, table, IfExists::Renew)),
        }
    }
}

/// The command that makes a deadline of a row.
pub(super) fn arm(queue: &QueueName, reading: &Reading, mark: &Mark, table: &str) -> Command {
    let at = Address { queue: queue.clone(), key: reading.key.clone() };
    schedule(at, mark, table, IfExists::Keep)
}

fn schedule(at: Address, mark: &Mark, table: &str, if_exists: IfExists) -> Command {
    Command::Schedule(Schedule {
        payload: Some(mark.payload(table)),
        if_exists,
        allow_past: true,
        ..Schedule::new(at, When::Due(mark.due))
    })
}
