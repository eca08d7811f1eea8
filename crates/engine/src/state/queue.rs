//! A queue at work: its policy, its counters, and who waits in it.

use std::collections::BTreeSet;

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
    /// Who waits to be handed out.
    pub(crate) waiting: BTreeSet<Turn>,
    /// Who is due while lapsing is withheld.
    pub(crate) parked: Vec<u32>,
    /// Deliveries in the hands of the server's own deliverers.
    pub(crate) held_here: u64,
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
            parked: Vec::new(),
            held_here: 0,
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

    /// May another delivery go to a target that the server serves itself?
    pub(crate) fn room_here(&self) -> u64 {
        let batch = u64::from(self.policy.target.batch());
        (u64::from(self.policy.concurrency) * batch).saturating_sub(self.held_here)
    }

    /// Deliveries that the rate lets go now.
    pub(crate) fn allowed(&self, now: Time) -> u64 {
        self.policy.rate.map_or(u64::MAX, |rate| self.pace.allowed(rate, now))
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
                leased: held(Phase::Leased),
                dead: held(Phase::Dead),
                oldest_waiting: self.waiting.first().map(|turn| turn.due),
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
