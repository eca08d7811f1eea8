//! Commands that wait for the archive.
//!
//! A key that is not in memory may be archived. The look-up runs on another thread while the driver
//! goes on; commands for the same key queue up behind it in their order, also when it has come back
//! and the step has no room for all of them. If a record leaves memory for the archive meanwhile,
//! what was found of it may be stale: it is looked up again.

use std::collections::{BTreeMap, VecDeque};

use duly_engine::Gone;
use duly_engine::answer::{Known, Wanted};
use duly_engine::command::{Address, Command};
use duly_engine::id::Generation;
use duly_engine::zoo::{self, Bug};

use super::asks::Place;

/// What waits for one look-up.
#[derive(Default)]
struct LookUp {
    /// What came back.
    known: Option<Known>,
    /// A record that may be the one has left memory since the look-up began.
    stale: bool,
    waiting: VecDeque<(Place, Command)>,
}

/// All look-ups that are on their way, or back and not worked off.
#[derive(Default)]
pub(super) struct LookUps {
    all: BTreeMap<Wanted, LookUp>,
    /// Those that have come back, in that order.
    back: VecDeque<Wanted>,
}

/// What to do with a look-up that has come back.
pub(super) enum Next {
    /// Decide this command with what was found.
    Decide(Place, Command, Known),
    /// Look it up again.
    Again(Wanted),
}

impl LookUps {
    /// The look-up of this key, if there is one that others wait for.
    pub(super) fn under_way(&self, at: &Address) -> Option<Wanted> {
        if self.all.is_empty() {
            return None;
        }
        let wanted = Wanted::Key(at.clone());
        self.all.contains_key(&wanted).then_some(wanted)
    }

    /// Adds a command to a look-up; true when the look-up has to be begun.
    pub(super) fn wait(&mut self, wanted: Wanted, place: Place, command: Command) -> bool {
        let begins = !self.all.contains_key(&wanted);
        self.all.entry(wanted).or_default().waiting.push_back((place, command));
        begins
    }

    /// Records have left memory.
    pub(super) fn gone(&mut self, gone: Vec<Gone>) {
        if self.all.is_empty() || zoo::bites(Bug::StaleLookUp) {
            return;
        }
        for Gone { id, at, is_nameless } in gone {
            if is_nameless {
                let by_key = |wanted: &Wanted| matches!(wanted, Wanted::Key(_));
                let all = self.all.iter_mut().filter(|(wanted, _)| by_key(wanted));
                all.for_each(|(_, look_up)| look_up.stale = true);
            }
            if let Some(look_up) = at.and_then(|at| self.all.get_mut(&Wanted::Key(at))) {
                look_up.stale = true;
            }
            let generations = Wanted::Id(id, Generation(0))..=Wanted::Id(id, Generation(u32::MAX));
            for (_, look_up) in self.all.range_mut(generations) {
                look_up.stale = true;
            }
        }
    }

    /// A look-up came back.
    pub(super) fn found(&mut self, wanted: Wanted, known: Known) {
        if let Some(look_up) = self.all.get_mut(&wanted) {
            look_up.known = Some(known);
            self.back.push_back(wanted);
        }
    }

    /// What to do next; nothing when all that came back is worked off.
    pub(super) fn next(&mut self) -> Option<Next> {
        while let Some(wanted) = self.back.pop_front() {
            let Some(look_up) = self.all.get_mut(&wanted) else { continue };
            if std::mem::take(&mut look_up.stale) {
                look_up.known = None;
                return Some(Next::Again(wanted));
            }
            if let Some(known) = &look_up.known
                && let Some((place, command)) = look_up.waiting.pop_front()
            {
                let next = Next::Decide(place, command, known.clone());
                self.back.push_front(wanted);
                return Some(next);
            }
            self.all.remove(&wanted);
        }
        None
    }

    /// Has something come back that is not worked off?
    pub(super) fn any_back(&self) -> bool {
        !self.back.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use duly_engine::id::{DeadlineId, Key, QueueName};
    use tokio::sync::{Semaphore, oneshot};

    use super::super::asks::Asks;
    use super::*;

    #[test]
    fn what_was_erased_before_the_start_may_have_been_under_any_key() {
        let queue = QueueName::new("orders").expect("a good name");
        let at = Address { queue, key: Key::new("42").expect("a good key") };
        let wanted = Wanted::Key(at.clone());
        for (is_nameless, is_believed) in [(false, true), (true, false)] {
            let (reply, _asker) = oneshot::channel();
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
            let place = Asks::default().begin(1, reply, permit).next().expect("one command");
            let mut look_ups = LookUps::default();
            look_ups.wait(wanted.clone(), place, Command::Get(at.clone()));
            look_ups.gone(vec![Gone { id: DeadlineId(7), at: None, is_nameless }]);
            look_ups.found(wanted.clone(), Known::Absent);
            let next = look_ups.next().expect("it has come back");
            assert_eq!(matches!(next, Next::Decide(..)), is_believed);
        }
    }
}
