//! What the works ask for: one shop with one queue of orders.
//!
//! Keys have 24 bytes and payloads 200, as in `duly bench`. Pending orders are due between ten and
//! thirty days from the start, so that none lapses while something is measured; neighbours in time
//! are no neighbours in memory.

use duly_engine::answer::Answer;
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfExists, NewQueue, Schedule, Settle, Show, Verdict, When,
};
use duly_engine::deadline::{Payload, PayloadKind};
use duly_engine::id::{Key, Outcome, QueueName};
use duly_engine::queue::Policy;
use duly_engine::time::Span;

use crate::world::World;

/// Deliveries in one lease.
pub(crate) const LEASED: usize = 100;

/// How soon is soon: orders of a work that is about lapsing are due within a second after it.
pub(crate) const SOON: Span = Span::from_mins(2);

/// Filled in one go; it bounds what is in memory at once.
const FILLED: usize = 50_000;

/// A queue, and the payload of all its orders.
pub(crate) struct Shop {
    pub(crate) queue: QueueName,
    pub(crate) payload: Payload,
}

impl Shop {
    pub(crate) fn new() -> Shop {
        Shop {
            queue: QueueName::new("orders").expect("a good name"),
            payload: Payload { kind: PayloadKind::Json, bytes: vec![b'7'; 200].into() },
        }
    }

    /// A world in which so many orders are pending, the first of them number 0.
    pub(crate) fn open(&self, pending: usize) -> World {
        let mut world = World::new();
        let policy = Policy { max_total: Span::from_days(60), ..NewQueue::Pulled.policy() };
        let (queue, policy) = (self.queue.clone(), Box::new(policy));
        world.run(vec![Command::PutQueue { queue, policy, declared: None }]);
        for first in (0..pending).step_by(FILLED) {
            let some = first..pending.min(first + FILLED);
            let answers =
                world.run(some.map(|n| self.schedule(n, far(n), Show::Nothing)).collect());
            assert!(answers.iter().all(|answer| *answer == Answer::Begun), "it was not filled");
        }
        world
    }

    pub(crate) fn order(&self, number: usize) -> Address {
        let key = Key::new(&format!("order-{number:018}")).expect("a good key");
        Address { queue: self.queue.clone(), key }
    }

    pub(crate) fn schedule(&self, number: usize, after: Span, show: Show) -> Command {
        Command::Schedule(self.scheduled(number, after, IfExists::Keep, show))
    }

    pub(crate) fn replace(&self, number: usize) -> Command {
        let (again, show) = (IfExists::Replace, Show::Nothing);
        Command::Schedule(self.scheduled(number, far(number), again, show))
    }

    fn scheduled(&self, number: usize, after: Span, exists: IfExists, show: Show) -> Schedule {
        let payload = Some(self.payload.clone());
        let schedule = Schedule::new(self.order(number), When::After(after));
        Schedule { payload, if_exists: exists, show, ..schedule }
    }

    pub(crate) fn settle(&self, number: usize) -> Command {
        let outcome = Outcome::new("paid").expect("an outcome");
        let at = self.order(number);
        Command::Settle(Settle { at, outcome, remember: None, generation: None })
    }

    pub(crate) fn extend(&self, number: usize) -> Command {
        let by = ExtendBy::Span(Span::from_secs(1));
        Command::Extend(Extend { at: self.order(number), by, if_due: None })
    }

    /// So many deliveries, a hundred at a time.
    pub(crate) fn leases(&self, many: usize) -> Vec<Command> {
        let lease = |_| {
            let (queue, span) = (self.queue.clone(), Span::from_mins(1));
            Command::Lease { queue, key: None, max: LEASED, span }
        };
        (0..many.div_ceil(LEASED)).map(lease).collect()
    }
}

/// That everything is done that was leased.
pub(crate) fn done(answers: &[Answer]) -> Vec<Command> {
    let held = answers.iter().flat_map(|answer| match answer {
        Answer::Leased(some) => some.as_slice(),
        other => panic!("a lease was answered with {other:?}"),
    });
    let done = |id, token| Command::Verdict { delivery: id, token, verdict: Verdict::Done };
    held.map(|held| done(held.id, held.token)).collect()
}

/// When an order is due that is only to be pending.
pub(crate) fn far(number: usize) -> Span {
    const OPEN_MS: u64 = 20 * 24 * 60 * 60 * 1_000;
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Span::from_days(10).plus(Span::from_millis(mixed % OPEN_MS))
}

/// When an order is due that is to lapse: within a second, evenly.
pub(crate) fn soon(number: usize) -> Span {
    SOON.plus(Span::from_millis(number as u64 % 1_000))
}
