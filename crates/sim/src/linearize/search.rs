//! The search for an order: just-in-time linearization.
//!
//! Wing and Gong's search, in the form that Lowe gave it: instead of following one order until it
//! fails, walk once through the calls and returns in time and keep every configuration that is still
//! possible: the state of the key, and which of the open operations have taken effect already. At a
//! return, its operation must have taken effect, alone or after others that are open; a
//! configuration in which that cannot be is dropped. When none is left, no order explains what was
//! told.
//!
//! An operation without an answer stays open for ever, so these are what makes a search long. A
//! configuration is forgotten when another knows less of the key, or has used fewer of them; and of
//! two that asked the same, the older goes first. What only looks is taken as soon as it can be. The
//! work is bounded: a key that needs more is undecided, which nobody may take for "fine".

use super::key::{Call, Range, State, Why};
use crate::history::{Asked, Operation, Rules};

/// Configurations compared and operations tried for one key: about a second's worth.
const WORK: u64 = 40_000_000;
/// Operations open at once.
const OPEN: usize = 64;

/// What became of one key.
pub(super) enum Found<'h> {
    /// There is an order.
    Order {
        /// The most configurations that were possible at once.
        widest: usize,
    },
    /// There is none.
    NoOrder(Stuck<'h>),
    /// It takes too much work to know.
    Undecided {
        /// At the return of this operation.
        at: usize,
    },
}

/// Where the search ended.
pub(super) struct Stuck<'h> {
    /// The operation whose answer cannot be explained.
    pub(super) at: usize,
    /// A longest order that was possible, as indexes of operations.
    pub(super) order: Vec<usize>,
    /// What the key was then.
    pub(super) state: State<'h>,
    /// Why the operation cannot follow.
    pub(super) why: Why,
}

/// One way in which it may have been so far.
#[derive(Clone, Copy)]
struct Configuration<'h> {
    state: State<'h>,
    /// Which of the open operations have taken effect.
    done: u64,
    /// Its last operation, in the trail.
    step: usize,
}

/// The orders of all configurations: each step knows the one before.
struct Trail(Vec<Step>);

#[derive(Clone, Copy)]
struct Step {
    before: usize,
    operation: usize,
    /// How many there are with it.
    length: usize,
}

impl Trail {
    const START: usize = usize::MAX;

    fn push(&mut self, before: usize, operation: usize) -> usize {
        self.0.push(Step { before, operation, length: self.length(before) + 1 });
        self.0.len() - 1
    }

    fn length(&self, step: usize) -> usize {
        self.0.get(step).map_or(0, |step| step.length)
    }

    fn order(&self, mut step: usize) -> Vec<usize> {
        let mut order = Vec::new();
        while step != Trail::START {
            let Step { before, operation, .. } = self.0[step];
            order.push(operation);
            step = before;
        }
        order.reverse();
        order
    }
}

/// The operations that are under way.
struct Open<'h> {
    calls: Vec<Option<Under<'h>>>,
    /// Those that will never return.
    unanswered: u64,
}

/// One of them.
#[derive(Clone, Copy)]
struct Under<'h> {
    index: usize,
    call: Call<'h>,
    /// Those that must have taken effect before.
    after: u64,
}

/// Configurations, none of which stands for another.
#[derive(Default)]
struct Possible<'h> {
    all: Vec<Configuration<'h>>,
    work: u64,
}

impl<'h> Possible<'h> {
    /// Takes one in, unless what is there stands for it.
    fn take(&mut self, new: Configuration<'h>, unanswered: u64) -> bool {
        self.work += self.all.len() as u64;
        let stands_for = |one: u64, other: u64| {
            one & !unanswered == other & !unanswered && one & !other & unanswered == 0
        };
        let covers = |one: &Configuration<'h>, other: &Configuration<'h>| {
            stands_for(one.done, other.done) && one.state.covers(other.state)
        };
        if self.all.iter().any(|known| covers(known, &new)) {
            return false;
        }
        self.all.retain(|known| !covers(&new, known));
        self.all.push(new);
        true
    }
}

/// A call or a return.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    // What begins at the tick at which another ends may have come before it.
    Call,
    Return,
}

/// Looks for an order of the operations of one key.
pub(super) fn search<'h>(operations: &[&'h Operation], rules: &'h Rules) -> Found<'h> {
    let mut events: Vec<(u64, What, usize)> = Vec::with_capacity(operations.len() * 2);
    for (index, operation) in operations.iter().enumerate() {
        let idle = operation.told.is_none() && only_looks(&operation.asked);
        if !idle {
            events.push((operation.asked_at.tick, What::Call, index));
        }
        if let Some((at, _)) = &operation.told {
            events.push((at.tick.max(operation.asked_at.tick), What::Return, index));
        }
    }
    events.sort_unstable();
    let mut open = Open { calls: Vec::new(), unanswered: 0 };
    let mut slots = vec![usize::MAX; operations.len()];
    let mut trail = Trail(Vec::new());
    let start = Configuration { state: State::Absent { used: 0 }, done: 0, step: Trail::START };
    let mut possible = vec![start];
    let (mut widest, mut work) = (1, 0);
    for (_, what, index) in events {
        if what == What::Call {
            let Some(slot) = open.call(index, operations[index], rules) else {
                return Found::Undecided { at: index };
            };
            slots[index] = slot;
            continue;
        }
        let left = WORK - work;
        let Some(returned) = open.returned(slots[index], &possible, &mut trail, left) else {
            return Found::Undecided { at: index };
        };
        match returned {
            Ok((next, more)) => {
                widest = widest.max(next.len());
                work += more;
                possible = next;
            }
            Err((last, why)) => {
                let order = trail.order(last.step);
                return Found::NoOrder(Stuck { at: index, order, state: last.state, why });
            }
        }
    }
    Found::Order { widest }
}

type Returned<'h> = Result<(Vec<Configuration<'h>>, u64), (Configuration<'h>, Why)>;

impl<'h> Open<'h> {
    fn call(&mut self, index: usize, operation: &'h Operation, rules: &'h Rules) -> Option<usize> {
        let slot = self.calls.iter().position(Option::is_none).unwrap_or(self.calls.len());
        if slot == OPEN {
            return None;
        }
        if slot == self.calls.len() {
            self.calls.push(None);
        }
        let to = operation.told.as_ref().map_or(u64::MAX, |(at, _)| at.ms);
        let call = Call {
            asked: &operation.asked,
            told: operation.told.as_ref().map(|(_, told)| told),
            window: Range { from: operation.asked_at.ms, to },
            rules,
        };
        let mut after = 0;
        if call.told.is_none() {
            self.unanswered |= 1 << slot;
            for (older, under) in self.calls.iter().enumerate() {
                if under.is_some_and(|under| {
                    under.call.told.is_none() && under.call.asked == call.asked
                }) {
                    after |= 1 << older;
                }
            }
        }
        self.calls[slot] = Some(Under { index, call, after });
        Some(slot)
    }

    /// The same after every operation that can come now and only looks. It need not be tried later:
    /// whatever follows can follow all the same.
    fn quieted(
        &self,
        mut one: Configuration<'h>,
        trail: &mut Trail,
        tried: &mut u64,
    ) -> Configuration<'h> {
        for (slot, open) in self.calls.iter().enumerate() {
            let Some(Under { index, call, .. }) = open else { continue };
            if !call.only_looks() || one.done & (1 << slot) != 0 {
                continue;
            }
            *tried += 1;
            let mut still = None;
            let legal = one.state.step(*call, |after| {
                if one.state.is_still(after) {
                    still = Some(after);
                }
            });
            if let (Ok(()), Some(state)) = (legal, still) {
                let step = trail.push(one.step, *index);
                one = Configuration { state, done: one.done | (1 << slot), step };
            }
        }
        one
    }

    /// What is possible after the operation in this slot has returned; nothing when it takes too
    /// much work.
    fn returned(
        &mut self,
        slot: usize,
        possible: &[Configuration<'h>],
        trail: &mut Trail,
        work: u64,
    ) -> Option<Returned<'h>> {
        let mut next = Possible::default();
        let mut seen = Possible::default();
        let mut stuck: Option<(Configuration<'h>, Why)> = None;
        let mut tried = 0;
        let mut ahead: Vec<Configuration<'h>> = Vec::new();
        for &one in possible {
            if one.done & (1 << slot) != 0 {
                next.take(Configuration { done: one.done & !(1 << slot), ..one }, self.unanswered);
            } else if seen.take(one, self.unanswered) {
                ahead.push(one);
            }
        }
        while let Some(one) = ahead.pop() {
            let one = self.quieted(one, trail, &mut tried);
            if one.done & (1 << slot) != 0 {
                next.take(Configuration { done: one.done & !(1 << slot), ..one }, self.unanswered);
                continue;
            }
            for (other, open) in self.calls.iter().enumerate() {
                let Some(Under { index, call, after }) = open else { continue };
                if one.done & (1 << other) != 0 || one.done & after != *after {
                    continue;
                }
                tried += 1;
                let mut reach = |state| {
                    let step = trail.push(one.step, *index);
                    if other == slot {
                        next.take(Configuration { state, step, ..one }, self.unanswered);
                    } else {
                        let done = one.done | (1 << other);
                        let further = Configuration { state, done, step };
                        if seen.take(further, self.unanswered) {
                            ahead.push(further);
                        }
                    }
                };
                if let Err(why) = one.state.step(*call, &mut reach)
                    && other == slot
                {
                    let longest = stuck.map_or(0, |(one, _)| trail.length(one.step) + 1);
                    if trail.length(one.step) >= longest {
                        stuck = Some((one, why));
                    }
                }
            }
            if tried + next.work + seen.work > work {
                return None;
            }
        }
        self.calls[slot] = None;
        if next.all.is_empty() {
            return Some(Err(stuck.expect("whatever was possible could not go on")));
        }
        Some(Ok((next.all, tried + next.work + seen.work)))
    }
}

/// Does it leave the key as it was, whatever the answer?
fn only_looks(asked: &Asked) -> bool {
    matches!(asked, Asked::Get | Asked::Lease)
}
