//! A queue at work: its policy, its counters, and who waits in it.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use super::live::Phase;
use crate::answer::{Held, QueueView, ShiftView, Totals};
use crate::fact::{BaseQueue, Shift};
use crate::id::{DeadlineId, Outcome, QueueName, QueueNo};
use crate::limits::OUTCOMES_COUNTED;
use crate::queue::Policy;
use crate::record::{outcome_bytes, queue_bytes};
use crate::time::Time;
use crate::zoo::{self, Bug};

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

/// Gaps jumped over to find those that were due in a range: there are two in each priority.
const GAPS: usize = 2 * PRIORITIES_SEEN;

/// The first so many of a line that were due in a range, in their order, as far as they stand in the
/// first `PRIORITIES_SEEN` priorities that others stand in as well.
pub(crate) fn first_due(line: &BTreeSet<Turn>, due: &Range<Time>, most: usize) -> Vec<Turn> {
    let (mut found, mut gaps) = (Vec::new(), 0);
    let mut turns = line.range(Turn::first_of(0)..);
    while found.len() < most && gaps <= GAPS {
        let Some(turn) = turns.next() else { break };
        if due.contains(&turn.due) {
            found.push(*turn);
            continue;
        }
        gaps += 1;
        let beyond = if turn.due < due.start {
            Some(Turn { due: due.start, ..Turn::first_of(turn.priority) })
        } else {
            turn.priority.checked_add(1).map(Turn::first_of)
        };
        let Some(beyond) = beyond else { break };
        turns = line.range(beyond..);
    }
    found
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
        if !zoo::bites(Bug::TotalsForgotten) {
            self.totals = base.totals;
        }
        self.shift = base.shift;
    }

    /// Counts a settle. A label that is not counted yet is counted as `other` when there are enough
    /// in this queue, or no more than `left` bytes for it in all of them. Says how many it took.
    pub(crate) fn count_settled(&mut self, outcome: &Outcome, left: usize) -> usize {
        let counted = &mut self.totals.settled;
        if let Some(count) = counted.get_mut(outcome) {
            *count += 1;
            return 0;
        }
        let is_counted = counted.len() < OUTCOMES_COUNTED && outcome_bytes(outcome) <= left;
        let other = || Outcome::new("other").expect("`other` is an outcome");
        let label = if is_counted { outcome.clone() } else { other() };
        let bytes = if counted.contains_key(&label) { 0 } else { outcome_bytes(&label) };
        *counted.entry(label).or_default() += 1;
        bytes
    }

    /// The bytes that a base takes for it, but for its outcomes.
    pub(crate) fn bytes(&self) -> usize {
        queue_bytes(&self.name, &self.policy)
    }

    /// The bytes that a base takes for its outcomes.
    pub(crate) fn outcomes_bytes(&self) -> usize {
        self.totals.settled.keys().map(outcome_bytes).sum()
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
    spent_until_ns: u64,
}

const SLACK_NS: u64 = 50_000_000;

/// Nanoseconds since 1970: exact for five centuries.
fn nanos(at: Time) -> u64 {
    at.millis().saturating_mul(1_000_000)
}

impl Pace {
    fn interval_ns(rate: u32) -> u64 {
        (1_000_000_000 / u64::from(rate.max(1))).max(1)
    }

    fn begin_ns(self, rate: u32, now: Time) -> u64 {
        let slack = SLACK_NS.max(Pace::interval_ns(rate));
        self.spent_until_ns.max(nanos(now).saturating_sub(slack))
    }

    pub(crate) fn allowed(self, rate: u32, now: Time) -> u64 {
        nanos(now).saturating_sub(self.begin_ns(rate, now)) / Pace::interval_ns(rate)
    }

    pub(crate) fn spend(&mut self, rate: u32, now: Time, deliveries: u64) {
        self.spent_until_ns = self.begin_ns(rate, now) + deliveries * Pace::interval_ns(rate);
    }

    /// When the next delivery may go.
    pub(crate) fn next_at(self, rate: u32, now: Time) -> Time {
        let at_ns = self.begin_ns(rate, now) + Pace::interval_ns(rate);
        Time::from_millis(at_ns.div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::index::hash_number;
    use crate::time::Span;

    fn ms(millis: u64) -> Time {
        Time::from_millis(1_795_348_800_000 + millis)
    }

    #[test]
    fn over_any_time_a_rate_is_kept_and_nsed() {
        for rate in [1, 2, 3, 7, 10, 99, 1_000, 70_000, 999_999] {
            let mut pace = Pace::default();
            let mut gone = 0;
            for now in 0..=10_000 {
                let allowed = pace.allowed(rate, ms(now));
                pace.spend(rate, ms(now), allowed);
                gone += allowed;
            }
            let burst = (u64::from(rate) / 20).max(1) + 1;
            let most = u64::from(rate) * 10 + burst + u64::from(rate) / 100;
            assert!(gone <= most, "{gone} at {rate} a second");
            assert!(gone >= u64::from(rate) * 10, "only {gone} at {rate} a second");
        }
    }

    #[test]
    fn the_next_may_go_when_it_is_said_and_not_before() {
        for rate in [1, 3, 10, 40] {
            let (mut pace, mut now, mut waits) = (Pace::default(), 0, 0);
            for n in 0..2_000 {
                now += hash_number(n) % 40;
                let allowed = pace.allowed(rate, ms(now));
                pace.spend(rate, ms(now), allowed.min(1 + hash_number(n) % 3));
                if pace.allowed(rate, ms(now)) > 0 {
                    continue;
                }
                let next = pace.next_at(rate, ms(now));
                assert!(next > ms(now), "a wait that is no wait");
                assert_eq!(pace.allowed(rate, next.minus(Span::from_millis(1))), 0);
                assert!(pace.allowed(rate, next) > 0);
                waits += 1;
            }
            assert!(waits > 20, "only {waits} waits at {rate} a second");
        }
    }

    #[test]
    fn rest_saves_up_no_more_than_the_slack() {
        let mut pace = Pace::default();
        pace.spend(100, ms(0), 1);
        assert_eq!(pace.allowed(100, ms(3_600_000)), 5, "50 ms at 100 a second");
        assert_eq!(pace.allowed(1, ms(3_600_000)), 1);
    }

    #[test]
    fn those_of_a_range_are_found_behind_any_number_of_others() {
        let turn = |slot: u32| Turn {
            priority: slot % 3,
            due: ms(u64::from(slot)),
            id: DeadlineId(u64::from(slot)),
            slot,
        };
        let line: BTreeSet<Turn> = (0..9_000).map(turn).collect();
        let slots = |from, to, most| {
            let found = first_due(&line, &(ms(from)..ms(to)), most);
            found.iter().map(|turn| turn.slot).collect::<Vec<_>>()
        };
        assert_eq!(slots(8_000, 8_006, 100), [8_001, 8_004, 8_002, 8_005, 8_000, 8_003]);
        assert_eq!(slots(8_000, 8_006, 3), [8_001, 8_004, 8_002]);
        assert_eq!(slots(0, 2, 100), [0, 1]);
        assert_eq!(slots(0, 9_000, 9_999).len(), 9_000);
        assert_eq!(slots(5, 5, 100), []);
        assert_eq!(slots(6, 5, 100), []);
        assert_eq!(slots(9_000, 10_000, 100), []);
    }

    #[test]
    fn a_range_is_looked_for_in_so_many_priorities() {
        let turn = |slot: u32| Turn {
            priority: slot,
            due: ms(u64::from(slot % 2)),
            id: DeadlineId(u64::from(slot)),
            slot,
        };
        let line: BTreeSet<Turn> = (0..1_000).map(turn).collect();
        let found = first_due(&line, &(ms(1)..ms(2)), 1_000).len();
        assert!((PRIORITIES_SEEN / 2..=2 * PRIORITIES_SEEN).contains(&found), "{found}");
        assert_eq!(first_due(&line, &(ms(0)..ms(2)), 1_000).len(), 1_000);
    }

    #[test]
    fn the_oldest_that_waits_is_found_behind_younger_ones_of_smaller_priority() {
        let name = QueueName::new("orders").expect("it is a name");
        let mut queue = Queue::new(QueueNo(1), name, Policy::default(), false);
        assert_eq!(queue.oldest_waiting(), None);
        for slot in 0..1_000 {
            let priority = if slot == 999 { u32::MAX } else { slot % 7 };
            let (due, id) = (ms(2_000 - u64::from(slot)), DeadlineId(u64::from(slot)));
            let line = if slot % 2 == 0 { &mut queue.waiting } else { &mut queue.ripe };
            line.insert(Turn { priority, due, id, slot });
        }
        assert_eq!(queue.oldest_waiting(), Some(ms(2_000 - 999)));
    }
}
