//! How many a minute. More than the operator thought possible is a sign that something is wrong
//! with the table or with the watch, and then it is better to stop and say so than to cancel it all.

use duly_engine::time::{Span, Time};

const MINUTE: Span = Span::from_mins(1);

/// A count that begins anew with every minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    most: usize,
    began: Time,
    count: usize,
}

impl Pace {
    /// At most so many a minute.
    pub(super) fn new(most: u32) -> Pace {
        Pace { most: usize::try_from(most).unwrap_or(usize::MAX), began: Time::ZERO, count: 0 }
    }

    /// How many more there may be now.
    pub(super) fn room(&mut self, now: Time) -> usize {
        if now.since(self.began) >= MINUTE {
            (self.began, self.count) = (now, 0);
        }
        self.most.saturating_sub(self.count)
    }

    /// So many more there were.
    pub(super) fn take(&mut self, count: usize) {
        self.count = self.count.saturating_add(count);
    }

    /// When there is room again after it has run out.
    pub(super) fn room_at(&self) -> Time {
        self.began.plus(MINUTE)
    }

    /// Begins anew: somebody has looked and said that it may go on.
    pub(super) fn reset(&mut self, now: Time) {
        (self.began, self.count) = (now, 0);
    }
}
