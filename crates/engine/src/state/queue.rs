//! A queue at work: its policy, its counters, and who waits in it.

use std::collections::{BTreeSet, VecDeque};

use super::live::Phase;
use crate::answer::{Held, QueueView, ShiftView, Totals};
use crate::fact::{BaseQueue, Shift};
use crate::id::{DeadlineId, Outcome, QueueName, QueueNo};
use crate::limits::OUTCOMES_COUNTED;
use crate::queue::Policy;
use crate::time::Time;

/// The order in which a queue hands out: smaller priority, then oldest due, then first scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) priority: u32,
    pub(crate) due: Time,
    pub(crate) id: DeadlineId,
    pub(crate) slot: u32,
}

impl Turn {
    /// Before every turn of this priority.
    fn first_of(priority: u32) -> Turn {
        Turn { priority, due: Time::ZERO, id: DeadlineId(0), slot: 0 }
    }
}

/// Priorities looked at to find the oldest that waits: each has its own order by due time.
const PRIORITIES_SEEN: usize = 64;

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) no: QueueNo,
    pub(crate) name: QueueName,
    pub(crate) policy: Policy,
    pub(crate) declared: bool,
    pub(crate) paused: bool,
    pub(crate) lapse_paused: bool,
    pub(crate) totals: Totals,
    pub(crate) shift: Option<Shift>,
    // From here on: not journalled, rebuilt at the opening.
    /// Live records by phase.
    pub(crate) held: [u64; Phase::COUNT],
    /// Who has lapsed and waits to be handed out.
    pub(crate) waiting: BTreeSet<Turn>,
    /// Who is over and lapses when it is handed out.
    pub(crate) ripe: BTreeSet<Turn>,
    /// Who is over while lapsing is withheld, in the order they came to be.
    pub(crate) parked: VecDeque<u32>,
    /// Requests that the server's own deliverers have under way.
    pub(crate) requests: u32,
    pub(crate) pace: Pace,
    pub(crate) last_leased_at: Option<Time>,
    pub(crate) too_late: u64,
}

impl Queue {
    pub(crate) fn new(no: QueueNo, name: QueueName, policy: Policy, declared: bool) -> Queue {
        Queue {
            no,
            name,
            policy,
            declared,
            paused: false,
            lapse_paused: false,
            totals: Totals::default(),
            shift: None,
            held: [0; Phase::COUNT],
            waiting: BTreeSet::new(),
            ripe: BTreeSet::new(),
            parked: VecDeque::new(),
            requests: 0,
            pace: Pace::default(),
            last_leased_at: None,
            too_late: 0,
        }
    }

    pub(crate) fn base(&self) -> BaseQueue {
        BaseQueue {
            queue: self.no,
            name: self.name.clone(),
            policy: self.policy.clone(),
            declared: self.declared,
            paused: self.paused,
            lapse_paused: self.lapse_paused,
            totals: self.totals.clone(),
            shift: self.shift,
        }
    }

    /// Takes over what a base says, keeping what is not journalled.
    pub(crate) fn restore(&mut self, base: BaseQueue) {
        self.name = base.name;
        self.policy = base.policy;
        self.declared = base.declared;
        self.paused = base.paused;
        self.lapse_paused = base.lapse_paused;
        self.totals = base.totals;
        self.shift = base.shift;
    }

    pub(crate) fn count_settled(&mut self, outcome: &Outcome) {
        let counted = &mut self.totals.settled;
        let label = if counted.contains_key(outcome) || counted.len() < OUTCOMES_COUNTED {
            outcome.clone()
        } else {
            Outcome::new("other").expect("`other` is an outcome")
        };
        *counted.entry(label).or_default() += 1;
    }

    /// Deliveries that the next request to its target may carry; none when enough are under way.
    pub(crate) fn room_here(&self) -> u64 {
        if self.requests < self.policy.concurrency {
            u64::from(self.policy.target.batch())
        } else {
            0
        }
    }

    /// Deliveries that the rate lets go now.
    pub(crate) fn allowed(&self, now: Time) -> u64 {
        self.policy.rate.map_or(u64::MAX, |rate| self.pace.allowed(rate, now))
    }

    /// The earliest due time among those who wait, as far as `PRIORITIES_SEEN` priorities show it.
    fn oldest_waiting(&self) -> Option<Time> {
        let firsts = |line: &BTreeSet<Turn>| {
            let mut turn = line.first().copied();
            let mut oldest = turn.map(|turn| turn.due);
            for _ in 1..PRIORITIES_SEEN {
                let Some(beyond) = turn.and_then(|turn| turn.priority.checked_add(1)) else {
                    break;
                };
                turn = line.range(Turn::first_of(beyond)..).next().copied();
                oldest = oldest.min(turn.map(|turn| turn.due)).or(oldest);
            }
            oldest
        };
        [firsts(&self.waiting), firsts(&self.ripe)].into_iter().flatten().min()
    }

    pub(crate) fn view(&self) -> QueueView {
        let held = |phase: Phase| self.held[phase as usize];
        QueueView {
            queue: self.name.clone(),
            policy: self.policy.clone(),
            declared: self.declared,
            paused: self.paused,
            lapse_paused: self.lapse_paused,
            last_leased_at: self.last_leased_at,
            shift: self.shift.map(|shift| ShiftView { moved: shift.moved, finished: false }),
            now: Held {
                pending: held(Phase::Pending),
                ready: held(Phase::Ready),
                leased: held(Phase::Leased) + held(Phase::HeldHere),
                dead: held(Phase::Dead),
                oldest_waiting: self.oldest_waiting(),
            },
            total: self.totals.clone(),
            too_late: self.too_late,
        }
    }
}

/// An even pace of handing out: a virtual clock that runs ahead by an interval per delivery (the
/// generic cell rate algorithm, ITU-T I.371), with 50 ms of slack so that it need not wake for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    spent_until_us: u64,
}

const SLACK_US: u64 = 50_000;

impl Pace {
    fn interval_us(rate: u32) -> u64 {
        (1_000_000 / u64::from(rate.max(1))).max(1)
    }

    fn begin_us(self, rate: u32, now: Time) -> u64 {
        let slack = SLACK_US.max(Pace::interval_us(rate));
        self.spent_until_us.max((now.millis() * 1_000).saturating_sub(slack))
    }

    pub(crate) fn allowed(self, rate: u32, now: Time) -> u64 {
        let now_us = now.millis() * 1_000;
        now_us.saturating_sub(self.begin_us(rate, now)) / Pace::interval_us(rate)
    }

    pub(crate) fn spend(&mut self, rate: u32, now: Time, deliveries: u64) {
        self.spent_until_us = self.begin_us(rate, now) + deliveries * Pace::interval_us(rate);
    }

    /// When the next delivery may go.
    pub(crate) fn next_at(self, rate: u32, now: Time) -> Time {
        let at_us = self.begin_us(rate, now) + Pace::interval_us(rate);
        Time::from_millis(at_us.div_ceil(1_000))
    }
}
