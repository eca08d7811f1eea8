//! What clients asked and were told, as anybody can write it down: the material of the
//! linearizability checker.
//!
//! One [`Operation`] is one question of one process about one (queue, key): when it was asked, when
//! the answer came, and what both said. An operation without an answer has an unknown outcome: it
//! may have taken effect at any time after it was asked, or never. All ticks come from one clock of
//! whoever recorded the history (microseconds of a monotonic clock, or steps of a simulation); the
//! times are the *server's*, as far as the recorder knows them: it was not earlier than the time at
//! the beginning and not later than the time at the end. A recorder that knows nothing writes 0 and
//! the greatest number, and gives up the judgement of time for that operation.
//!
//! A process asks one thing at a time, but for operations without an answer: those stay open.
//! Deliveries that are handed out are operations too, of the worker that got them; what a webhook
//! receiver saw is asked at the tick when its deadline was scheduled, because nobody knows when the
//! server sent it off.
//!
//! As a file it is JSON lines, in any order: each line a [`Rules`] of a queue (queues that have none
//! are worked on by workers and keep everything) or an operation:
//!
//! ```json
//! {"queue":"receipts","rules":{"served":true,"kept_ms":86400000}}
//! {"process":1,"queue":"orders","key":"42","asked_at":{"tick":10,"ms":1000},
//!  "asked":{"schedule":{"if_exists":"keep","when":{"after_ms":5000}}},
//!  "told_at":{"tick":14,"ms":1003},
//!  "told":{"scheduled":{"created":true,
//!    "seen":{"id":1,"generation":1,"due_ms":6001,"frozen_ms":0,"state":"pending"}}}}
//! {"process":2,"queue":"orders","key":"42","asked_at":{"tick":20,"ms":2000},
//!  "asked":{"settle":{"outcome":"paid"}}}
//! ```
//!
//! (an operation is one line; it is folded here for reading). Nothing here judges.

mod file;
mod fill;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use fill::{handed, told, told_over_http};

/// Everything that was asked and told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// What is known of queues, by name.
    pub(crate) rules: BTreeMap<String, Rules>,
    /// In any order.
    pub(crate) operations: Vec<Operation>,
}

/// What happens in a queue without any operation of this history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rules {
    /// Deliveries are acted on by somebody who does not record it: the target is not `pull`.
    pub(crate) served: bool,
    /// Due times of pending deadlines are moved: somebody shifts the queue.
    pub(crate) shifted: bool,
    /// A final record may be forgotten so long after it became final; never if it does not say.
    pub(crate) kept_ms: Option<u64>,
}

/// One question and its answer, if one came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Who asked.
    pub(crate) process: u32,
    /// Of which queue.
    pub(crate) queue: String,
    /// Which deadline.
    pub(crate) key: String,
    /// When it was asked; the server's time was not earlier.
    pub(crate) asked_at: Moment,
    /// What.
    pub(crate) asked: Asked,
    /// When the answer came (the server's time was not later), and the answer.
    pub(crate) told: Option<(Moment, Told)>,
}

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// By the recorder's clock: orders operations.
    pub(crate) tick: u64,
    /// By the server's clock, milliseconds since 1970: judges due times.
    pub(crate) ms: u64,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Asked {
    /// To act at a time.
    Schedule {
        /// What with one that is there already.
        if_exists: IfExists,
        /// Due when.
        when: When,
        /// Only over this generation, while it is pending.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<u32>,
    },
    /// That it happened.
    Settle {
        /// How.
        outcome: String,
        /// Only this generation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u32>,
        /// Kept for so long if there is nothing yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remember_ms: Option<u64>,
    },
    /// For more time.
    Extend {
        /// How far.
        by: By,
        /// Only if it is due then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_due_ms: Option<u64>,
    },
    /// To stop the clock.
    Freeze {
        /// For so long.
        for_ms: u64,
    },
    /// How it stands.
    Get,
    /// For something to do: was given this one.
    Lease,
    /// To take the end of an attempt.
    Verdict {
        /// Of this generation.
        generation: u32,
        /// The lease it was made under.
        token: u64,
        /// How it ended.
        verdict: Verdict,
    },
    /// To try a dead one again.
    Revive,
    /// To forget it.
    Erase,
}

/// What a schedule does with a deadline that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfExists {
    /// Shows it.
    Keep,
    /// Begins the next generation unless a delivery is under way.
    Replace,
    /// Begins the next generation if it is final.
    Renew,
    /// Refuses.
    Fail,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// So many milliseconds later.
    AfterMs(u64),
    /// Then, milliseconds since 1970.
    DueMs(u64),
    /// The server knows: the queue's default delay.
    Default,
}

/// How far a due time is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "a bare number ends in its unit")]
pub(crate) enum By {
    /// So many milliseconds later than it is.
    LaterMs(u64),
    /// To so many milliseconds from now.
    AfterMs(u64),
    /// To then, milliseconds since 1970.
    DueMs(u64),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It acted.
    Done,
    /// No need.
    Superseded,
    /// Again.
    Retry,
    /// Never.
    Dead,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Told {
    /// Of a schedule.
    Scheduled {
        /// Did a generation begin?
        created: bool,
        /// The record.
        seen: Seen,
    },
    /// Of a settle.
    Settled {
        /// Who won.
        result: SettleResult,
        /// The record.
        seen: Seen,
    },
    /// Of a settle before there was anything: kept until then.
    Remembered {
        /// Milliseconds since 1970.
        until_ms: u64,
    },
    /// Of extend, freeze, get, revive, and a verdict that was taken.
    Record(Seen),
    /// Of a lease: this one to act on.
    Handed {
        /// The deadline's number.
        id: u64,
        /// Which life of it.
        generation: u32,
        /// When it was due.
        due_ms: u64,
        /// When it lapsed.
        lapsed_ms: u64,
        /// The number of the attempt.
        attempt: u32,
        /// The hold on it; whoever only receives requests does not see it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<u64>,
    },
    /// Of an erase.
    Erased,
    /// Of a schedule, a settle that won or an extension: done, and no record is shown.
    Done,
    /// Of a read: it is pending, and due then if that is shown.
    Pending {
        /// When it is due.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<When>,
    },
    /// Of a read or a settle: nothing is pending, and nothing was done.
    NotPending,
    /// No.
    Refused {
        /// The stable code.
        code: String,
        /// The record that explains it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Seen>,
    },
}

/// How a settle went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SettleResult {
    /// This one made it.
    Settled,
    /// Another with the same outcome had.
    Already,
    /// Another with another outcome had.
    Otherwise,
    /// It had lapsed.
    TooLate(Acted),
}

/// What had been done about a lapse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Acted {
    /// Not tried.
    No,
    /// Tried.
    Maybe,
    /// Done.
    Yes,
    /// Superseded.
    Kept,
    /// Dead.
    Never,
}

/// A record as an answer showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The deadline's number.
    pub(crate) id: u64,
    /// Which life of it.
    pub(crate) generation: u32,
    /// When it is due, milliseconds since 1970.
    pub(crate) due_ms: u64,
    /// The end of its last freeze; 0 if there was none.
    pub(crate) frozen_ms: u64,
    /// Where it stands.
    #[serde(rename = "state")]
    pub(crate) phase: Phase,
}

/// Where a deadline stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Phase {
    /// Neither settled nor lapsed.
    Pending,
    /// Settled in time.
    Settled {
        /// How.
        outcome: String,
        /// When, milliseconds since 1970.
        at_ms: u64,
    },
    /// Passed.
    Lapsed {
        /// When, milliseconds since 1970.
        at_ms: u64,
        /// How far acting on it is.
        delivery: Delivery,
        /// Attempts begun.
        attempts: u32,
    },
}

/// How far acting on a lapse is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Delivery {
    /// It waits.
    Ready,
    /// Somebody has it.
    Leased,
    /// Acted on.
    Done,
    /// Not needed.
    Superseded,
    /// Given up.
    Dead,
}
