//! A deadline as it is shown: the whole record, its delivery, its timeline.
//!
//! These types are what answers carry, what the archive keeps and what a `Restated` fact holds. The
//! compact form that a hundred million of them have in memory is `state::live::Live`; the two meet
//! in `state` only.

use std::sync::Arc;

use crate::id::{DeadlineId, DeliveryId, Generation, Key, Outcome, QueueName, QueueNo, Seq, Token};
use crate::state::index::hash_number;
use crate::time::{Span, Time};

/// One deadline, one generation, as it stood when the answer was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Its queue's number, for the store.
    pub queue_no: QueueNo,
    /// Its queue.
    pub queue: QueueName,
    /// The caller's name for it.
    pub key: Key,
    /// Its number.
    pub id: DeadlineId,
    /// Which life of it this is.
    pub generation: Generation,
    /// Pending, settled or lapsed.
    pub state: State,
    /// When it is due.
    pub due: Time,
    /// When this generation was scheduled.
    pub created_at: Time,
    /// Smaller is handed out first.
    pub priority: u32,
    /// The clock stands still until then.
    pub frozen_until: Option<Time>,
    /// All freezes of this generation together, so far.
    pub frozen_for: Span,
    /// How it was settled.
    pub outcome: Option<Outcome>,
    /// When it was settled.
    pub settled_at: Option<Time>,
    /// When it lapsed.
    pub lapsed_at: Option<Time>,
    /// The duty that came of the lapse.
    pub delivery: Option<Delivery>,
    /// What the caller wants back.
    pub payload: PayloadAt,
    /// What happened to it, oldest first; at most 32 events, the first is always kept.
    pub timeline: Vec<Event>,
}

/// Where a deadline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Neither settled nor lapsed.
    Pending,
    /// Settled in time. Final.
    Settled,
    /// Passed unsettled; the delivery says how far acting on it has come.
    Lapsed,
}

impl State {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Settled => "settled",
            State::Lapsed => "lapsed",
        }
    }
}

/// The duty to hand one lapse to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The same over all attempts.
    pub id: DeliveryId,
    /// How far it has come.
    pub state: DeliveryState,
    /// Attempts begun so far.
    pub attempts: u32,
    /// The earliest time of the next attempt, while it is ready.
    pub next_attempt_at: Option<Time>,
    /// Until when the present lease holds.
    pub leased_until: Option<Time>,
    /// The present or last lease; none once a lease has run out.
    pub token: Option<Token>,
    /// What the last failed attempt said.
    pub last_error: Option<Arc<str>>,
    /// When it became done, superseded or dead.
    pub finished_at: Option<Time>,
    /// From which attempt and time the retry ladder counts: its lapse, or its last revival.
    pub ladder: Ladder,
    /// Whether the server's own deliverer holds the lease.
    pub held_here: bool,
}

/// Where the retry ladder of a delivery begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// Attempts begun before it.
    pub attempts: u32,
    /// When.
    pub since: Time,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waiting to be handed out, perhaps not before its next attempt's time.
    Ready,
    /// In somebody's hands.
    Leased,
    /// The target acted. Final.
    Done,
    /// The target found it no longer needed. Final.
    Superseded,
    /// Given up; kept until revived or erased.
    Dead,
}

impl DeliveryState {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            DeliveryState::Ready => "ready",
            DeliveryState::Leased => "leased",
            DeliveryState::Done => "done",
            DeliveryState::Superseded => "superseded",
            DeliveryState::Dead => "dead",
        }
    }
}

/// Has somebody acted on the lapse? What a customer who paid too late needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted {
    /// Nobody has tried yet.
    No,
    /// Somebody tried and has not said how it ended.
    Maybe,
    /// Done.
    Yes,
    /// The target kept the order: superseded.
    Kept,
    /// The delivery is dead.
    Never,
}

impl Acted {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            Acted::No => "no",
            Acted::Maybe => "maybe",
            Acted::Yes => "yes",
            Acted::Kept => "kept",
            Acted::Never => "never",
        }
    }
}

impl Delivery {
    /// Has somebody acted on it?
    pub fn acted(&self) -> Acted {
        match self.state {
            DeliveryState::Ready | DeliveryState::Leased if self.attempts == 0 => Acted::No,
            DeliveryState::Ready | DeliveryState::Leased => Acted::Maybe,
            DeliveryState::Done => Acted::Yes,
            DeliveryState::Superseded => Acted::Kept,
            DeliveryState::Dead => Acted::Never,
        }
    }
}

impl Deadline {
    /// Can nothing more happen to it?
    pub fn is_final(&self) -> bool {
        match (self.state, &self.delivery) {
            (State::Settled, _) => true,
            (State::Lapsed, Some(delivery)) => {
                matches!(delivery.state, DeliveryState::Done | DeliveryState::Superseded)
            }
            _ => false,
        }
    }

    /// When nothing more could happen to it.
    pub fn finished_at(&self) -> Option<Time> {
        self.settled_at.or(self.delivery.as_ref().and_then(|delivery| delivery.finished_at))
    }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// JSON text.
    Json,
    /// Bytes that came by another protocol.
    Bytes,
}

/// A payload in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// JSON or bytes.
    pub kind: PayloadKind,
    /// At most 64 KiB.
    pub bytes: Arc<[u8]>,
}

/// A payload in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The segment, or [`Stored::THIS_STEP`].
    pub segment: u32,
    /// Where it begins in the segment; in this step's facts when the step has not been placed.
    pub offset: u32,
    /// Its length in bytes.
    pub bytes: u32,
    /// JSON or bytes.
    pub kind: PayloadKind,
    /// What [`Payload::hash`] must give for what is read there.
    pub hash: u32,
}

impl Payload {
    /// A hash that tells whether a payload is the same as another, and whether the disk gave back
    /// what it took. It is persisted: it must never change.
    pub fn hash(&self) -> u32 {
        hash_of(self.kind, &self.bytes)
    }
}

/// The hash of a payload: FNV-1a (Fowler, Noll and Vo) over words of eight bytes, the last filled up
/// with zeros, the length before them; then mixed as in `SplitMix64` and cut to 32 bits. Every
/// schedule pays for it, and a word costs as much as a byte would.
pub(crate) fn hash_of(kind: PayloadKind, payload: &[u8]) -> u32 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // Turned, so that what the high bits of a word say is not lost at the high end of the hash.
    let take = |hash: u64, word: u64| (hash ^ word).wrapping_mul(PRIME).rotate_left(23);
    let words = payload.chunks_exact(8);
    let mut last = [0_u8; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let of_kind = BASIS ^ u64::from(kind == PayloadKind::Bytes);
    let of_words = words.fold(take(of_kind, payload.len() as u64), |hash, word| {
        take(hash, u64::from_le_bytes(word.try_into().expect("chunks of eight")))
    });
    let mixed = hash_number(take(of_words, u64::from_le_bytes(last)));
    u32::try_from(mixed >> 32).expect("the upper half has 32 bits")
}

impl Stored {
    /// Stands for the record of the step that is being made: its place is not known yet.
    pub const THIS_STEP: u32 = u32::MAX;

    /// The same payload once it is known where this step's facts begin.
    #[must_use]
    pub fn placed(self, segment: u32, facts_offset: u32) -> Stored {
        if self.segment == Stored::THIS_STEP {
            Stored { segment, offset: facts_offset + self.offset, ..self }
        } else {
            self
        }
    }
}

/// Where a payload is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadAt {
    /// The caller gave none.
    None,
    /// Here.
    Here(Payload),
    /// In the journal.
    Stored(Stored),
    /// Dropped by retention; the record outlives it.
    Gone,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What can happen to a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Scheduled to be due then.
    Scheduled {
        /// The due time asked for.
        due: Time,
    },
    /// Extended.
    Extended {
        /// The new due time.
        due: Time,
    },
    /// Moved with others of its queue.
    Shifted {
        /// The new due time.
        due: Time,
    },
    /// Frozen until then; a time that is past means the freeze was ended.
    Frozen {
        /// When it ends by itself.
        until: Time,
    },
    /// Settled.
    Settled {
        /// How.
        outcome: Outcome,
    },
    /// Lapsed.
    Lapsed,
    /// An attempt began.
    Leased {
        /// Its number.
        attempt: u32,
    },
    /// An attempt failed; another follows.
    Retried {
        /// What it said.
        error: Arc<str>,
        /// Not before then.
        next_attempt_at: Time,
    },
    /// The target acted.
    Done,
    /// The target found it no longer needed.
    Superseded,
    /// Given up.
    Dead {
        /// What the last attempt said.
        error: Arc<str>,
    },
    /// Brought back from the dead.
    Revived,
}

impl What {
    /// The word for it in the API.
    pub fn word(&self) -> &'static str {
        match self {
            What::Scheduled { .. } => "scheduled",
            What::Extended { .. } => "extended",
            What::Shifted { .. } => "shifted",
            What::Frozen { .. } => "frozen",
            What::Settled { .. } => "settled",
            What::Lapsed => "lapsed",
            What::Leased { .. } => "leased",
            What::Retried { .. } => "retried",
            What::Done => "done",
            What::Superseded => "superseded",
            What::Dead { .. } => "dead",
            What::Revived => "revived",
        }
    }
}

/// A final record on its way to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// The fact that made it final.
    pub seq: Seq,
    /// The record.
    pub deadline: Deadline,
}
