//! Everything the engine answers, refusals included.
//!
//! A refusal is a value, decided from state like any other answer and as durable as one. Every
//! protocol maps [`Refusal`] once, in one exhaustive match; adding a refusal breaks those matches,
//! and that is the design.

use std::collections::BTreeMap;

use crate::deadline::{Acted, Deadline, PayloadAt};
use crate::id::{DeadlineId, DeliveryId, Generation, Key, Outcome, QueueName, Token};
use crate::queue::{BadPolicy, Policy};
use crate::time::{Span, Time};

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a schedule.
    Scheduled {
        /// A new generation began.
        created: bool,
        /// What of an existing record is not as asked: `due`, `payload`, `priority`.
        differs: Vec<&'static str>,
        /// The queue's target is `pull` and no worker has leased lately.
        nobody_acts: bool,
        /// The record.
        deadline: Box<Deadline>,
    },
    /// Of a schedule that began a generation and is to show nothing.
    Begun,
    /// Of a settle.
    Settled {
        /// How it went.
        result: SettleResult,
        /// The record.
        deadline: Box<Deadline>,
    },
    /// Of a settle that came before its schedule.
    Remembered {
        /// Until when it is remembered.
        until: Time,
    },
    /// Of extend, freeze, revive, get.
    Deadline(Box<Deadline>),
    /// Of an erase.
    Erased,
    /// Of a lease.
    Leased(Vec<Leased>),
    /// Who waits to be handed out, whose turn is first first. What is to lapse when it is handed out
    /// is pending.
    Waiting(Vec<Deadline>),
    /// Of a verdict.
    VerdictTaken(Box<Deadline>),
    /// Of a touch: until when the lease holds.
    Touched {
        /// The new end.
        leased_until: Time,
    },
    /// Of anything about one queue.
    Queue(Box<QueueView>),
    /// Of a list of queues, by name.
    Queues(Vec<QueueView>),
    /// Of a removal of a queue.
    QueueDeleted,
    /// Of a shift.
    Shift(ShiftView),
    /// Of one slice of a scan.
    Scanned {
        /// What matched, in order of (due, id), at most the limit.
        found: Vec<Deadline>,
        /// Where to go on; none at the end.
        next_slot: Option<u32>,
    },
    /// Of one slice of a count.
    Counted {
        /// How many are due, by queue and by the beginning of the span; none is zero.
        due: BTreeMap<(QueueName, Time), u64>,
        /// Where to go on; none at the end.
        next_slot: Option<u32>,
    },
    /// Of anything about the clock.
    Clock(ClockView),
    /// No.
    Refused(Refusal),
    /// The key is not in memory: look in the archive and ask again with what was found.
    LookUp(Wanted),
}

impl Answer {
    /// Every payload it points at, for whoever fetches them or finds out where they lie.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut PayloadAt> {
        let (one, handed, shown): (Option<&mut Deadline>, &mut [Leased], &mut [Deadline]) =
            match self {
                Answer::Scheduled { deadline, .. }
                | Answer::Settled { deadline, .. }
                | Answer::Deadline(deadline)
                | Answer::VerdictTaken(deadline) => (Some(deadline), &mut [], &mut []),
                Answer::Refused(refusal) => (refusal.deadline_mut(), &mut [], &mut []),
                Answer::Leased(deliveries) => (None, deliveries, &mut []),
                Answer::Waiting(found) | Answer::Scanned { found, .. } => (None, &mut [], found),
                Answer::Begun
                | Answer::Remembered { .. }
                | Answer::Erased
                | Answer::Touched { .. }
                | Answer::Queue(_)
                | Answer::Queues(_)
                | Answer::QueueDeleted
                | Answer::Shift(_)
                | Answer::Clock(_)
                | Answer::Counted { .. }
                | Answer::LookUp(_) => (None, &mut [], &mut []),
            };
        let shown = one.into_iter().chain(shown).map(|deadline| &mut deadline.payload);
        shown.chain(handed.iter_mut().map(|delivery| &mut delivery.payload))
    }
}

/// What must be looked up in the archive before a command can be decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The latest generation of a (queue, key).
    Key(crate::command::Address),
    /// One generation of a deadline.
    Id(DeadlineId, Generation),
}

/// What is known of an archived record when a command is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nobody has looked.
    Unasked,
    /// It is not in the archive.
    Absent,
    /// It is.
    Archived(Box<Deadline>),
}

/// How a settle went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleResult {
    /// In time; this one made it.
    Settled,
    /// Settled before with the same outcome.
    AlreadySettled,
    /// Settled before with another outcome.
    SettledOtherwise,
    /// Lapsed before.
    TooLate(Acted),
}

impl SettleResult {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            SettleResult::Settled => "settled",
            SettleResult::AlreadySettled => "already_settled",
            SettleResult::SettledOtherwise => "settled_otherwise",
            SettleResult::TooLate(_) => "too_late",
        }
    }
}

/// One delivery in the hands of a worker or of the server's own deliverer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The same in every attempt.
    pub id: DeliveryId,
    /// The hold; the verdict needs it.
    pub token: Token,
    /// Its queue.
    pub queue: QueueName,
    /// Its key.
    pub key: Key,
    /// When it was due.
    pub due: Time,
    /// When it lapsed.
    pub lapsed_at: Time,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Until when the lease holds.
    pub leased_until: Time,
    /// What the caller wanted back.
    pub payload: PayloadAt,
}

/// One queue: its rules and its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub queue: QueueName,
    /// Its rules.
    pub policy: Policy,
    /// By the configuration?
    pub declared: bool,
    /// Deliveries wait.
    pub paused: bool,
    /// Lapses wait.
    pub lapse_paused: bool,
    /// When a worker last leased from it.
    pub last_leased_at: Option<Time>,
    /// A shift under way.
    pub shift: Option<ShiftView>,
    /// What it holds now.
    pub now: Held,
    /// What it has counted since it was created.
    pub total: Totals,
    /// Settles answered `too_late` since the server started.
    pub too_late: u64,
}

/// Live records of a queue by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Pending, overdue ones included.
    pub pending: u64,
    /// Lapsed and waiting to be handed out.
    pub ready: u64,
    /// In somebody's hands.
    pub leased: u64,
    /// Given up.
    pub dead: u64,
    /// Due time of the earliest lapsed or overdue one that waits to be handed out (among those of
    /// the 64 smallest priorities in use).
    pub oldest_waiting: Option<Time>,
}

/// Counts since the queue was created; they never go down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Generations scheduled.
    pub scheduled: u64,
    /// Pending generations ended by `replace`.
    pub replaced: u64,
    /// Settled, by outcome; beyond 64 labels, `other`.
    pub settled: BTreeMap<Outcome, u64>,
    /// Lapsed.
    pub lapsed: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Deliveries done.
    pub done: u64,
    /// Deliveries superseded.
    pub superseded: u64,
    /// Deliveries that died.
    pub died: u64,
    /// Deliveries revived.
    pub revived: u64,
}

/// A shift, done or under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShiftView {
    /// Deadlines moved so far.
    pub moved: u64,
    /// Is it over?
    pub finished: bool,
}

/// The clock as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockView {
    /// Journal time: what decides.
    pub now: Time,
    /// What the wall clock says.
    pub wall: Time,
    /// Why lapsing is withheld, if the clock guard is up.
    pub guard: Option<GuardReason>,
    /// Deadlines overdue at the last opening lapse no earlier.
    pub recovery_until: Time,
    /// More is due than was done in this step: the next ones catch up.
    pub behind: bool,
}

/// Why the clock guard went up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardReason {
    /// The wall clock jumped ahead of the boot clock.
    ForwardJump,
    /// The wall clock stepped back.
    BackwardStep,
    /// At the start the wall clock was behind journal time.
    StartedBehind,
    /// At the start the wall clock was too far ahead of journal time.
    StartedAhead,
}

impl GuardReason {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            GuardReason::ForwardJump => "forward_jump",
            GuardReason::BackwardStep => "backward_step",
            GuardReason::StartedBehind => "started_behind",
            GuardReason::StartedAhead => "started_ahead",
        }
    }
}

/// Why not. [`Refusal::code`] is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such queue.
    UnknownQueue,
    /// No such deadline.
    UnknownDeadline,
    /// No such delivery.
    UnknownDelivery,
    /// `if_exists: fail`, and it is there.
    AlreadyExists(Box<Deadline>),
    /// `replace`, but its delivery is not over.
    DeliveryUnderWay(Box<Deadline>),
    /// Extend or freeze of a settled deadline, or a schedule over it.
    AlreadySettled(Box<Deadline>),
    /// Extend or freeze of a lapsed deadline, or a schedule over it.
    TooLate(Box<Deadline>),
    /// A settle for another generation, or a schedule over it.
    OtherGeneration(Box<Deadline>),
    /// `if_due` names another time.
    DueChanged(Box<Deadline>),
    /// Erase or delete of something that is not over.
    StillPending(Box<Deadline>),
    /// Revive of a delivery that is not dead.
    NotDead(Box<Deadline>),
    /// Neither `after` nor `due`, and the queue has no default delay.
    NoDueTime,
    /// Due more than an hour ago.
    DueInPast,
    /// Due in more than ten years.
    DueTooFar,
    /// Beyond the queue's `max_total`.
    MaxTotal {
        /// The latest due time allowed.
        latest: Time,
    },
    /// Beyond the queue's `max_freeze`.
    MaxFreeze {
        /// What is left of it.
        left: Span,
    },
    /// The verdict came under a lease that is over.
    LeaseLost,
    /// The queue's target is not `pull`.
    NotPull,
    /// The queue still holds something.
    QueueNotEmpty,
    /// The queue is declared in the configuration.
    QueueDeclared,
    /// Ten thousand queues are there.
    TooManyQueues,
    /// The policy cannot be.
    BadPolicy(BadPolicy),
    /// A shift is still under way in the queue.
    ShiftUnderWay,
    /// The server holds as many deadlines as it may.
    Full,
    /// The disk's reserve is low: only settles, verdicts and reads.
    StorageLow,
    /// The disk's reserve is gone.
    StorageFull,
    /// The clock guard is not up.
    ClockTrusted,
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::UnknownQueue => "unknown_queue",
            Refusal::UnknownDeadline => "unknown_deadline",
            Refusal::UnknownDelivery => "unknown_delivery",
            Refusal::AlreadyExists(_) => "already_exists",
            Refusal::DeliveryUnderWay(_) => "delivery_under_way",
            Refusal::AlreadySettled(_) => "already_settled",
            Refusal::TooLate(_) => "too_late",
            Refusal::OtherGeneration(_) => "other_generation",
            Refusal::DueChanged(_) => "due_changed",
            Refusal::StillPending(_) => "still_pending",
            Refusal::NotDead(_) => "not_dead",
            Refusal::NoDueTime => "no_due_time",
            Refusal::DueInPast => "due_in_past",
            Refusal::DueTooFar => "due_too_far",
            Refusal::MaxTotal { .. } => "max_total",
            Refusal::MaxFreeze { .. } => "max_freeze",
            Refusal::LeaseLost => "lease_lost",
            Refusal::NotPull => "not_pull",
            Refusal::QueueNotEmpty => "queue_not_empty",
            Refusal::QueueDeclared => "queue_declared",
            Refusal::TooManyQueues => "too_many_queues",
            Refusal::BadPolicy(_) => "bad_policy",
            Refusal::ShiftUnderWay => "shift_under_way",
            Refusal::Full => "queue_full",
            Refusal::StorageLow => "storage_low",
            Refusal::StorageFull => "storage_full",
            Refusal::ClockTrusted => "clock_trusted",
        }
    }

    /// The record it shows, to be completed.
    pub fn deadline_mut(&mut self) -> Option<&mut Deadline> {
        match self {
            Refusal::AlreadyExists(deadline)
            | Refusal::DeliveryUnderWay(deadline)
            | Refusal::AlreadySettled(deadline)
            | Refusal::TooLate(deadline)
            | Refusal::OtherGeneration(deadline)
            | Refusal::DueChanged(deadline)
            | Refusal::StillPending(deadline)
            | Refusal::NotDead(deadline) => Some(deadline),
            _ => None,
        }
    }
}
