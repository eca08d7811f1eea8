//! What is remembered of one deadline: only what can never become untrue.
//!
//! A deadline of an attack has one generation; its due time and the end of its freeze are only ever
//! moved ahead. So everything told about it is a lower bound or final, and two pieces of evidence can
//! be held against each other in whatever order they arrive.

/// One deadline.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Somebody was told that it exists.
    pub(super) exists: bool,
    /// The due time told last.
    pub(super) due_least: u64,
    /// The due time it was asked to be scheduled at, and all extensions that were asked for together;
    /// some may be asked for before the schedule, and yet come after it.
    pub(super) scheduled: u64,
    pub(super) extended_by: u64,
    /// The latest due time it was asked to be moved to.
    pub(super) moved: u64,
    /// The end of a freeze that was told.
    pub(super) frozen_least: u64,
    /// The outcomes it was asked to be settled with.
    pub(super) outcomes: Vec<String>,
    /// How many times somebody was told that a settle made it.
    pub(super) settles_won: u32,
    pub(super) winner: Option<Winner>,
    /// Attempts that were begun, one bit each.
    pub(super) attempts: u64,
    /// The attempt after which its delivery was over.
    pub(super) done: Option<u32>,
    pub(super) lease: Option<Hold>,
}

/// Who won, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Winner {
    /// Whoever deleted a key is not told when.
    Settled {
        outcome: String,
        at: Option<u64>,
    },
    Lapsed {
        delivery: String,
        at: u64,
        due: u64,
    },
}

impl Winner {
    /// Can both be the same?
    pub(super) fn may_be(&self, other: &Winner) -> bool {
        match (self, other) {
            (Winner::Settled { outcome, at }, Winner::Settled { outcome: word, at: then }) => {
                outcome == word && at.zip(*then).is_none_or(|(at, then)| at == then)
            }
            _ => self == other,
        }
    }
}

/// A worker's lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) attempt: u32,
    /// It holds until then, by the server's clock.
    pub(super) until: u64,
    /// The worker may have ended it.
    pub(super) given_back: bool,
}

/// What was known when a question was asked: its answer may not say less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    pub(super) exists: bool,
    pub(super) has_winner: bool,
    pub(super) due_least: u64,
    pub(super) frozen_least: u64,
    pub(super) is_done: bool,
    /// The wall clock at the question.
    pub(super) at: u64,
}

impl Memory {
    /// The latest due time it can have.
    pub(super) fn due_most(&self) -> u64 {
        self.scheduled.max(self.moved) + self.extended_by
    }

    pub(super) fn before(&self, at: u64) -> Before {
        Before {
            exists: self.exists,
            has_winner: self.winner.is_some(),
            due_least: self.due_least,
            frozen_least: self.frozen_least,
            is_done: self.done.is_some(),
            at,
        }
    }
}
