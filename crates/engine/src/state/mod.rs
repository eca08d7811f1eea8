//! The live state: every record that is not archived, every queue, and where to find them.
//!
//! `State` holds and finds; it decides nothing. What is derived from records (who waits, who is
//! parked, which timer is set) is brought up to date by [`State::refresh`] after every change, and
//! rebuilt by it at the opening, so that nothing of it needs a fact.

pub(crate) mod index;
pub(crate) mod live;
pub(crate) mod queue;
pub(crate) mod slab;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use index::{Index, hash_key, hash_number};
use live::{Live, Phase, Place};
use queue::{Queue, Turn};
use slab::Slab;

use crate::answer::GuardReason;
use crate::command::Address;
use crate::deadline::Deadline;
use crate::fact::{Base, BaseQueue};
use crate::id::{DeadlineId, DirectoryId, Generation, Key, QueueName, QueueNo, Seq};
use crate::queue::DecideAt;
use crate::time::Time;
use crate::timers::Timers;

/// What is overdue with a record and needs a fact (or, for a remembered settle, a removal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    Lapse,
    LeaseOver,
    Forget,
}

/// All that is live.
pub(crate) struct State {
    pub(crate) directory: DirectoryId,
    seed: [u64; 2],
    pub(crate) records: Slab<Live>,
    by_key: Index,
    by_id: Index,
    pub(crate) queues: BTreeMap<QueueNo, Queue>,
    by_name: BTreeMap<QueueName, QueueNo>,
    pub(crate) next_id: DeadlineId,
    pub(crate) next_queue: QueueNo,
    pub(crate) opened_at: Time,
    pub(crate) recovery_until: Time,
    pub(crate) timers: Timers,
    /// Final records in the order they became so, until they are archived.
    pub(crate) finals: VecDeque<(Seq, u32, DeadlineId, Generation)>,
    /// Erased deadlines that the archive may still show.
    pub(crate) erased: BTreeMap<DeadlineId, Seq>,
    /// Queues with somebody waiting to be handed out.
    pub(crate) active: BTreeSet<QueueNo>,
    /// Deliveries in the hands of the server's own deliverers, in all queues.
    pub(crate) held_here: u64,
    /// Lapsing is withheld everywhere.
    pub(crate) withheld: bool,
    /// What stating all records anew would take, about.
    pub(crate) live_bytes: u64,
}

impl State {
    pub(crate) fn new(directory: DirectoryId, seed: [u64; 2]) -> State {
        State {
            directory,
            seed,
            records: Slab::new(),
            by_key: Index::new(),
            by_id: Index::new(),
            queues: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next_id: DeadlineId(1),
            next_queue: QueueNo(1),
            opened_at: Time::ZERO,
            recovery_until: Time::ZERO,
            timers: Timers::new(),
            finals: VecDeque::new(),
            erased: BTreeMap::new(),
            active: BTreeSet::new(),
            held_here: 0,
            withheld: false,
            live_bytes: 0,
        }
    }

    // Queues.

    pub(crate) fn queue_no(&self, name: &QueueName) -> Option<QueueNo> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn queue(&self, no: QueueNo) -> &Queue {
        self.queues.get(&no).expect("a queue lives as long as its records")
    }

    pub(crate) fn queue_mut(&mut self, no: QueueNo) -> &mut Queue {
        self.queues.get_mut(&no).expect("a queue lives as long as its records")
    }

    pub(crate) fn insert_queue(&mut self, queue: Queue) {
        self.by_name.insert(queue.name.clone(), queue.no);
        self.next_queue = self.next_queue.max(QueueNo(queue.no.0 + 1));
        self.queues.insert(queue.no, queue);
    }

    pub(crate) fn remove_queue(&mut self, no: QueueNo) {
        if let Some(queue) = self.queues.remove(&no) {
            self.by_name.remove(&queue.name);
        }
        self.active.remove(&no);
    }

    pub(crate) fn queues_by_name(&self) -> impl Iterator<Item = &Queue> {
        self.by_name.values().map(|no| self.queue(*no))
    }

    // Records.

    fn key_hash(&self, queue: QueueNo, key: &Key) -> u64 {
        hash_key(self.seed, queue.0, key.as_str().as_bytes())
    }

    pub(crate) fn slot_of(&self, address: &Address) -> Option<u32> {
        let queue = self.queue_no(&address.queue)?;
        self.by_key.find(self.key_hash(queue, &address.key), |slot| {
            self.records
                .get(slot)
                .is_some_and(|live| live.queue == queue && live.key == address.key)
        })
    }

    pub(crate) fn slot_of_id(&self, id: DeadlineId) -> Option<u32> {
        self.by_id.find(hash_number(id.0), |slot| {
            self.records.get(slot).is_some_and(|live| live.id == id)
        })
    }

    pub(crate) fn live(&self, slot: u32) -> &Live {
        self.records.get(slot).expect("the slot was just found")
    }

    pub(crate) fn live_mut(&mut self, slot: u32) -> &mut Live {
        self.records.get_mut(slot).expect("the slot was just found")
    }

    pub(crate) fn view(&self, slot: u32) -> Deadline {
        let live = self.live(slot);
        live.view(&self.queue(live.queue).name, self.directory)
    }

    pub(crate) fn insert(&mut self, live: Live) -> u32 {
        let (queue, id, phase) = (live.queue, live.id, live.phase);
        self.live_bytes += live.stated_bytes();
        let hash = self.key_hash(queue, &live.key);
        let slot = self.records.insert(live);
        self.by_key.insert(hash, slot);
        self.by_id.insert(hash_number(id.0), slot);
        self.next_id = self.next_id.max(DeadlineId(id.0 + 1));
        self.queue_mut(queue).held[phase as usize] += 1;
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.leave(slot);
        let Some(live) = self.records.remove(slot) else { return };
        self.live_bytes -= live.stated_bytes();
        self.by_key.remove(self.key_hash(live.queue, &live.key), slot);
        self.by_id.remove(hash_number(live.id.0), slot);
        self.queue_mut(live.queue).held[live.phase as usize] -= 1;
    }

    /// Moves a record to another phase and keeps the counts.
    pub(crate) fn set_phase(&mut self, slot: u32, phase: Phase) {
        let live = self.live_mut(slot);
        let (queue, before) = (live.queue, std::mem::replace(&mut live.phase, phase));
        let held = &mut self.queue_mut(queue).held;
        held[before as usize] -= 1;
        held[phase as usize] += 1;
    }

    // What is derived.

    /// Takes a record out of its queue's lists, before anything that orders them changes.
    pub(crate) fn leave(&mut self, slot: u32) {
        let Some(live) = self.records.get_mut(slot) else { return };
        let turn = Turn { priority: live.priority, due: live.due, id: live.id, slot };
        let (no, place) = (live.queue, std::mem::replace(&mut live.place, Place::Nowhere));
        if place == Place::Waiting {
            let queue = self.queue_mut(no);
            queue.waiting.remove(&turn);
            if queue.waiting.is_empty() {
                self.active.remove(&no);
            }
        }
    }

    fn wait(&mut self, slot: u32) {
        let live = self.live_mut(slot);
        live.place = Place::Waiting;
        let (no, turn) =
            (live.queue, Turn { priority: live.priority, due: live.due, id: live.id, slot });
        self.queue_mut(no).waiting.insert(turn);
        self.active.insert(no);
    }

    fn park(&mut self, slot: u32) {
        let live = self.live_mut(slot);
        live.place = Place::Parked;
        let no = live.queue;
        self.queue_mut(no).parked.push(slot);
    }

    /// Sets the timer of a record, unless an earlier one is set: that one will look again.
    pub(crate) fn arm(&mut self, slot: u32, at: Time) {
        let live = self.live_mut(slot);
        if at < live.armed {
            live.armed = at;
            self.timers.insert(at.millis(), slot);
        }
    }

    /// When a pending record lapses: from then on a settle is too late.
    pub(crate) fn lapse_at(&self, live: &Live) -> Time {
        let at = live.runs_out_at().plus(self.queue(live.queue).policy.grace);
        // Overdue when the engine opened: settles get their head start.
        if at <= self.opened_at { at.max(self.recovery_until) } else { at }
    }

    /// Is lapsing withheld in this queue?
    pub(crate) fn is_withheld(&self, queue: QueueNo) -> bool {
        self.withheld || self.queue(queue).lapse_paused
    }

    /// Brings lists and timer of a record up to date; says what is overdue and needs a fact.
    pub(crate) fn refresh(&mut self, slot: u32, now: Time) -> Option<Overdue> {
        self.leave(slot);
        let live = self.live(slot);
        let (queue, phase) = (live.queue, live.phase);
        let story = live.story.as_deref();
        match phase {
            Phase::Pending => {
                let at = self.lapse_at(live);
                if at > now {
                    self.arm(slot, at);
                } else if self.is_withheld(queue) {
                    self.park(slot);
                } else if self.queue(queue).policy.decide_at == DecideAt::Handout {
                    self.wait(slot);
                } else {
                    return Some(Overdue::Lapse);
                }
            }
            Phase::Ready => {
                let at = story.map_or(Time::ZERO, |story| story.next_attempt_at);
                if at > now { self.arm(slot, at) } else { self.wait(slot) }
            }
            Phase::Leased => {
                let at = story.map_or(Time::ZERO, |story| story.leased_until);
                if at <= now {
                    return Some(Overdue::LeaseOver);
                }
                self.arm(slot, at);
            }
            Phase::Remembered => {
                if live.due <= now {
                    return Some(Overdue::Forget);
                }
                let at = live.due;
                self.arm(slot, at);
            }
            Phase::Settled | Phase::Done | Phase::Superseded | Phase::Dead => {}
        }
        None
    }

    /// Everything that is not a deadline.
    pub(crate) fn base(&self, guard: Option<GuardReason>) -> Base {
        Base {
            next_id: self.next_id,
            next_queue: self.next_queue,
            opened_at: self.opened_at,
            recovery_until: self.recovery_until,
            guard,
            queues: self.queues.values().map(Queue::base).collect(),
        }
    }

    /// Takes over a base. In the middle of a journal it says what is known already.
    pub(crate) fn restore(&mut self, base: Base) {
        self.next_id = self.next_id.max(base.next_id);
        self.next_queue = self.next_queue.max(base.next_queue);
        self.opened_at = base.opened_at;
        self.recovery_until = base.recovery_until;
        for queue in base.queues {
            self.restore_queue(queue);
        }
    }

    fn restore_queue(&mut self, base: BaseQueue) {
        if !self.queues.contains_key(&base.queue) {
            let (name, policy) = (base.name.clone(), base.policy.clone());
            self.insert_queue(Queue::new(base.queue, name, policy, base.declared));
        }
        self.queue_mut(base.queue).restore(base);
    }
}
