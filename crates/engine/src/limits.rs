//! A limit on everything, in one place.
//!
//! SPEC numbers that the engine enforces itself live here as constants; the few that an operator
//! may set are fields of [`Limits`] and are handed to the engine when it is made.

use crate::time::Span;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES: usize = 512;
/// Longest queue name, in bytes.
pub const QUEUE_NAME_BYTES: usize = 64;
/// Most queues in one server.
pub const QUEUES: usize = 10_000;
/// Largest payload, in bytes.
pub const PAYLOAD_BYTES: usize = 64 * 1024;
/// Longest outcome label, in bytes.
pub const OUTCOME_BYTES: usize = 64;
/// Outcome labels counted one by one in a queue; later ones are counted as `other`.
pub const OUTCOMES_COUNTED: usize = 64;
/// Names and counters of the outcomes counted one by one in all queues together, in bytes.
pub const OUTCOMES_BYTES: usize = 192 << 10;
/// Longest error text kept of a failed attempt, in bytes.
pub const ERROR_BYTES: usize = 512;
/// Events kept in a deadline's timeline; the first is always kept.
pub const TIMELINE_EVENTS: usize = 32;
/// Most deliveries handed out by one lease.
pub const LEASE_DELIVERIES: usize = 1_000;
/// Most lapses in one request to a target.
pub const BATCH_DELIVERIES: u32 = 1_000;
/// Most attempts under way in one queue.
pub const CONCURRENCY: u32 = 1_000;
/// Most steps of a retry ladder.
pub const RETRY_STEPS: usize = 64;
/// How far ahead a deadline may lie.
pub const HORIZON: Span = Span::from_days(3_653);
/// How far in the past a due time may lie without `allow_past`.
pub const PAST: Span = Span::from_hours(1);
/// How long a settle for an unknown deadline may be remembered.
pub const REMEMBER: Span = Span::from_days(7);
/// Shortest and longest lease of a delivery.
pub const LEASE: (Span, Span) = (Span::from_secs(1), Span::from_hours(12));
/// Shortest and longest wait a target may ask for with `Retry-After`.
pub const RETRY_AFTER: (Span, Span) = (Span::from_secs(1), Span::from_hours(1));
/// Head start for settles after downtime, at most.
pub const RECOVERY: Span = Span::from_mins(5);
/// A step back of the wall clock that trips the clock guard.
pub const BACKWARD_STEP: Span = Span::from_secs(60);
/// How close to journal time the wall clock must come for the clock guard to let go by itself.
pub const CLOCK_RETURN: Span = Span::from_secs(2);
/// Records looked at in one slice of a list, a shift or a re-arming.
pub const SLICE: usize = 8_192;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A forward jump of the wall clock against the boot clock that trips the clock guard.
    pub max_forward_jump: Span,
    /// How far ahead of journal time the wall clock may be at a start.
    pub max_downtime: Span,
    /// Deadlines held in memory (pending, lapsed and dead); beyond it schedules are refused.
    pub max_deadlines: usize,
    /// Names and policies of all queues together, in bytes as they are written at the beginning of
    /// every journal segment; with [`OUTCOMES_BYTES`] more they must fit there.
    pub queues_bytes: usize,
    /// Deliveries the server's own deliverers may have in hand in all queues together; one queue alone
    /// gets half of them, which lets it have [`CONCURRENCY`] requests under way.
    pub max_attempts_under_way: usize,
    /// May schedule create a queue that nobody declared?
    pub auto_create_queues: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_forward_jump: Span::from_secs(60),
            max_downtime: Span::from_days(30),
            max_deadlines: 100_000_000,
            queues_bytes: 8 << 20,
            max_attempts_under_way: 2_048,
            auto_create_queues: true,
        }
    }
}
