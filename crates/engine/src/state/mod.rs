//! The live state: every record that is not archived, every queue, and where to find them.
//!
//! `State` holds and finds; it decides nothing. What is derived from records (`places`: who waits,
//! who is ripe or parked, which timer is set) is brought up to date after every change and rebuilt
//! at the opening, so that nothing of it needs a fact.

pub(crate) mod index;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod near;
pub(crate) mod places;
pub(crate) mod queue;
pub(crate) mod slab;
pub(crate) mod turns;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use index::{Index, hash_key, hash_number};
use keys::Keys;
use live::{Live, Phase};
use queue::Queue;
use slab::Slab;
use turns::Turns;

use crate::answer::GuardReason;
use crate::command::Address;
use crate::deadline::Deadline;
use crate::fact::{Base, BaseQueue};
use crate::id::{
    DeadlineId, DirectoryId, Generation, Key, Outcome, QueueName, QueueNo, Seq, Token,
};
use crate::limits::OUTCOMES_BYTES;
use crate::queue::Target;
use crate::time::Time;
use crate::timers::Timers;
use crate::zoo::{self, Bug};

/// A deadline that was erased while the archive may still show it.
#[derive(Debug)]
pub(crate) struct Erasure {
    pub(crate) seq: Seq,
    pub(crate) id: DeadlineId,
    /// What it was called; only who asked for it knows, for the record may be in the archive alone.
    pub(crate) at: Option<Address>,
}

/// All that is live.
pub(crate) struct State {
    pub(crate) directory: DirectoryId,
    seed: [u64; 2],
    pub(crate) records: Slab<Live>,
    keys: Keys,
    by_key: Index,
    by_id: Index,
    /// The slot that was found last: a hint, which whoever finds it checks.
    met: Cell<u32>,
    pub(crate) queues: BTreeMap<QueueNo, Queue>,
    by_name: BTreeMap<QueueName, QueueNo>,
    /// What a base takes for all queues but their outcomes, and what for those.
    pub(crate) queues_bytes: usize,
    outcomes_bytes: usize,
    pub(crate) next_id: DeadlineId,
    pub(crate) next_queue: QueueNo,
    pub(crate) opened_at: Time,
    pub(crate) recovery_until: Time,
    pub(crate) timers: Timers,
    /// Final records in the order they became so, until they are archived.
    pub(crate) finals: VecDeque<(Seq, u32, DeadlineId, Generation)>,
    /// Those of them whose deadline has begun another generation: nowhere else can they be had yet.
    pub(crate) outlived: BTreeMap<(DeadlineId, Generation), Deadline>,
    /// Erased deadlines that the archive may still show.
    pub(crate) erased: BTreeSet<DeadlineId>,
    /// The same in the order they were erased.
    pub(crate) erasures: VecDeque<Erasure>,
    /// Whose turn it is to hand out.
    pub(crate) turns: Turns,
    /// Live records of all queues by phase.
    held: [u64; Phase::COUNT],
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
            keys: Keys::default(),
            by_key: Index::new(),
            by_id: Index::new(),
            met: Cell::new(0),
            queues: BTreeMap::new(),
            by_name: BTreeMap::new(),
            queues_bytes: 0,
            outcomes_bytes: 0,
            next_id: DeadlineId(1),
            next_queue: QueueNo(1),
            opened_at: Time::ZERO,
            recovery_until: Time::ZERO,
            timers: Timers::new(),
            finals: VecDeque::new(),
            outlived: BTreeMap::new(),
            erased: BTreeSet::new(),
            erasures: VecDeque::new(),
            turns: Turns::default(),
            held: [0; Phase::COUNT],
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
        self.queues_bytes += queue.bytes();
        self.next_queue = self.next_queue.max(QueueNo(queue.no.0 + 1));
        self.queues.insert(queue.no, queue);
    }

    pub(crate) fn remove_queue(&mut self, no: QueueNo) {
        // It is empty when it is deleted. Only replay finds records there: forgetting and evicting
        // are no facts.
        if self.queue(no).held.iter().any(|held| *held > 0) {
            for slot in 0..self.records.slots() {
                if self.records.get(slot).is_some_and(|live| live.queue == no) {
                    self.remove(slot);
                }
            }
        }
        if let Some(queue) = self.queues.remove(&no) {
            self.by_name.remove(&queue.name);
            self.queues_bytes -= queue.bytes();
            self.outcomes_bytes -= queue.outcomes_bytes();
        }
    }

    /// Changes what a base says of a queue.
    pub(crate) fn rewrite_queue(&mut self, no: QueueNo, change: impl FnOnce(&mut Queue)) {
        let queue = self.queues.get_mut(&no).expect("a queue lives as long as its records");
        self.queues_bytes -= queue.bytes();
        self.outcomes_bytes -= queue.outcomes_bytes();
        change(queue);
        self.queues_bytes += queue.bytes();
        self.outcomes_bytes += queue.outcomes_bytes();
    }

    /// Counts a settle in its queue.
    pub(crate) fn count_settled(&mut self, no: QueueNo, outcome: &Outcome) {
        let left = OUTCOMES_BYTES.saturating_sub(self.outcomes_bytes);
        self.outcomes_bytes += self.queue_mut(no).count_settled(outcome, left);
    }

    /// Something about a queue has changed: it stands in line for a turn again.
    pub(crate) fn stir(&mut self, no: QueueNo) {
        match self.queue(no).policy.target {
            Target::Pull => {}
            Target::None => self.turns.closing.join(no),
            Target::Webhook(_)
            | Target::Sql { .. }
            | Target::Exec { .. }
            | Target::Publish { .. } => {
                self.turns.served.join(no);
            }
        }
    }

    /// Lapsing is no longer withheld: what ripened meanwhile may be handed out.
    pub(crate) fn stir_ripe(&mut self) {
        let ripe = self.queues.values().filter(|queue| !queue.ripe.is_empty());
        let ripe: Vec<QueueNo> = ripe.map(|queue| queue.no).collect();
        for no in ripe {
            self.stir(no);
        }
    }

    /// Holds a queue back for as long as its rate lets nothing go. True if that is so now.
    pub(crate) fn obey_rate(&mut self, no: QueueNo, now: Time) -> bool {
        let queue = self.queue(no);
        match queue.policy.rate {
            Some(rate) if queue.pace.allowed(rate, now) == 0 => {
                let until = queue.pace.next_at(rate, now);
                self.turns.hold_back(no, until);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn queues_by_name(&self) -> impl Iterator<Item = &Queue> {
        self.by_name.values().map(|no| self.queue(*no))
    }

    // Records.

    fn key_hash(&self, queue: QueueNo, key: &Key) -> u64 {
        hash_key(self.seed, queue.0, key.as_str().as_bytes())
    }

    /// The key of a record.
    pub(crate) fn key(&self, live: &Live) -> Key {
        self.keys.get(live.key)
    }

    /// The same, to be looked at only.
    pub(crate) fn key_text(&self, live: &Live) -> &str {
        self.keys.text(live.key)
    }

    pub(crate) fn slot_of(&self, address: &Address) -> Option<u32> {
        self.slot_of_key(self.queue_no(&address.queue)?, &address.key)
    }

    pub(crate) fn slot_of_key(&self, queue: QueueNo, key: &Key) -> Option<u32> {
        self.slot_of_hash(self.key_hash(queue, key), queue, key)
    }

    fn slot_of_hash(&self, hash: u64, queue: QueueNo, key: &Key) -> Option<u32> {
        let slot = self.by_key.find(hash, |slot| {
            self.records.get(slot).is_some_and(|live| {
                live.queue == queue && self.keys.bytes(live.key) == key.as_str().as_bytes()
            })
        });
        self.met.set(slot.unwrap_or_default());
        slot
    }

    pub(crate) fn slot_of_id(&self, id: DeadlineId) -> Option<u32> {
        if id >= self.next_id {
            // Nobody has this number yet: the usual case of a schedule.
            return None;
        }
        // A fact is mostly about the record that its command has just met.
        let is_it = |slot: u32| self.records.get(slot).is_some_and(|live| live.id == id);
        if is_it(self.met.get()) {
            return Some(self.met.get());
        }
        let slot = self.by_id.find(hash_number(id.0), is_it);
        self.met.set(slot.unwrap_or_default());
        slot
    }

    pub(crate) fn live(&self, slot: u32) -> &Live {
        self.records.get(slot).expect("the slot was just found")
    }

    pub(crate) fn live_mut(&mut self, slot: u32) -> &mut Live {
        self.records.get_mut(slot).expect("the slot was just found")
    }

    pub(crate) fn view(&self, slot: u32) -> Deadline {
        self.live(slot).view(self.address(slot), self.directory)
    }

    /// Puts a record in the place of the one with its number, or in a place of its own.
    pub(crate) fn put(&mut self, key: &Key, live: Live) -> u32 {
        let Some(slot) = self.slot_of_id(live.id) else { return self.insert(key, live) };
        let before = self.live(slot);
        if before.phase.is_final() && before.generation != live.generation {
            let last = self.view(slot);
            self.outlived.insert((last.id, last.generation), last);
        }
        self.leave(slot);
        self.set_phase(slot, live.phase);
        // A number means one key for ever; the timer entry is a hint about the slot and stays good.
        self.change(slot, |before| {
            *before = Live { key: before.key, armed: before.armed, ..live };
        });
        slot
    }

    fn insert(&mut self, key: &Key, live: Live) -> u32 {
        // Another number had the key before: that record was forgotten or evicted, neither of which
        // is a fact, and replay learns of it here.
        let hash = self.key_hash(live.queue, key);
        if let Some(gone) = self.slot_of_hash(hash, live.queue, key) {
            self.remove(gone);
        }
        let (queue, id, phase) = (live.queue, live.id, live.phase);
        let live = Live { key: self.keys.insert(key), ..live };
        self.live_bytes += live.stated_bytes();
        let slot = self.records.insert(live);
        self.by_key.insert(hash, slot);
        self.by_id.insert(hash_number(id.0), slot);
        self.next_id = self.next_id.max(DeadlineId(id.0.saturating_add(1)));
        self.held[phase as usize] += 1;
        self.queue_mut(queue).held[phase as usize] += 1;
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.leave(slot);
        let Some(live) = self.records.remove(slot) else { return };
        self.live_bytes -= live.stated_bytes();
        let hash = hash_key(self.seed, live.queue.0, self.keys.bytes(live.key));
        self.by_key.remove(hash, slot);
        self.keys.remove(live.key);
        self.by_id.remove(hash_number(live.id.0), slot);
        self.held[live.phase as usize] -= 1;
        self.queue_mut(live.queue).held[live.phase as usize] -= 1;
    }

    /// Removes a record for good: what the archive may still hold of it counts no longer.
    pub(crate) fn erase(&mut self, id: DeadlineId, seq: Seq) {
        if let Some(slot) = self.slot_of_id(id) {
            self.remove(slot);
        }
        let all = (id, Generation(0))..=(id, Generation(u32::MAX));
        while let Some((&outlived, _)) = self.outlived.range(all.clone()).next() {
            self.outlived.remove(&outlived);
        }
        self.erased.insert(id);
        self.erasures.push_back(Erasure { seq, id, at: None });
    }

    /// The (queue, key) of a record.
    pub(crate) fn address(&self, slot: u32) -> Address {
        let live = self.live(slot);
        Address { queue: self.queue(live.queue).name.clone(), key: self.key(live) }
    }

    /// Changes a record in its place and keeps account of its size.
    pub(crate) fn change(&mut self, slot: u32, change: impl FnOnce(&mut Live)) {
        let live = self.live_mut(slot);
        let before = live.stated_bytes();
        change(live);
        let after = live.stated_bytes();
        self.live_bytes = self.live_bytes + after - before;
    }

    /// Moves a record to another phase and keeps the counts.
    pub(crate) fn set_phase(&mut self, slot: u32, phase: Phase) {
        let live = self.live_mut(slot);
        let (queue, before) = (live.queue, std::mem::replace(&mut live.phase, phase));
        let token = live.story.as_ref().and_then(|story| story.token);
        self.held[before as usize] -= 1;
        self.held[phase as usize] += 1;
        let held = &mut self.queue_mut(queue).held;
        held[before as usize] -= 1;
        held[phase as usize] += 1;
        if before == Phase::HeldHere && phase != Phase::HeldHere {
            self.attempt_is_over(token);
        }
    }

    /// An attempt of the server's own deliverer is over; perhaps its request with it.
    fn attempt_is_over(&mut self, token: Option<Token>) {
        if let Some(no) = token.and_then(|token| self.turns.one_is_over(token)) {
            self.queue_mut(no).requests -= 1;
            self.stir(no);
        }
        // There is more room than there was, perhaps for somebody else.
        let crowded = self.turns.crowded.next();
        if let Some(no) = crowded.filter(|no| self.queues.contains_key(no)) {
            self.stir(no);
        }
    }

    /// A request with these deliveries begins.
    pub(crate) fn begin_request(&mut self, no: QueueNo, first: Token, deliveries: usize) {
        self.turns.begin_request(no, first, deliveries);
        self.queue_mut(no).requests += 1;
    }

    /// Deliveries in the hands of the server's own deliverers, in all queues.
    pub(crate) fn held_here(&self) -> u64 {
        self.held[Phase::HeldHere as usize]
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
        if !zoo::bites(Bug::IdsStartAgain) {
            self.next_id = self.next_id.max(base.next_id);
        }
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
        self.rewrite_queue(base.queue, |queue| queue.restore(base));
    }
}
