//! Requests that have come to a command about many records before all that is before it is decided.
//!
//! A command that waits for the archive lets others go on, since they are about other records. One
//! that counts or walks is about those as well: it waits until everything before it in its request
//! is decided, and so does what comes after it, or it would see what was asked later. Other requests
//! go on; what was asked at the same time has no order.

use std::collections::{BTreeMap, VecDeque};

use duly_engine::command::Command;

use super::asks::{Asks, Place};

/// What is left of requests that stand still.
#[derive(Default)]
pub(super) struct Held {
    rest: BTreeMap<u64, VecDeque<(Place, Command)>>,
    /// Those that may go on.
    free: VecDeque<u64>,
}

impl Held {
    /// Holds a command, and of the backlog all that comes after it in its request.
    pub(super) fn hold(
        &mut self,
        place: Place,
        command: Command,
        backlog: &mut VecDeque<(Place, Command)>,
    ) {
        let rest = self.rest.entry(place.ask).or_default();
        rest.push_front((place, command));
        while backlog.front().is_some_and(|(next, _)| next.ask == place.ask) {
            rest.extend(backlog.pop_front());
        }
        self.free.retain(|ask| *ask != place.ask);
    }

    /// A command was answered: its request may go on, if that was what it waited for.
    pub(super) fn answered(&mut self, place: Place, asks: &Asks) {
        let first = self.rest.get(&place.ask).and_then(VecDeque::front);
        if first.is_some_and(|(first, _)| asks.is_next(*first)) && !self.free.contains(&place.ask) {
            self.free.push_back(place.ask);
        }
    }

    /// What may be decided next.
    pub(super) fn next(&mut self) -> Option<(Place, Command)> {
        while let Some(ask) = self.free.front() {
            if let Some(next) = self.rest.get_mut(ask).and_then(VecDeque::pop_front) {
                return Some(next);
            }
            self.rest.remove(ask);
            self.free.pop_front();
        }
        None
    }

    /// May anything go on?
    pub(super) fn any_free(&self) -> bool {
        !self.free.is_empty()
    }
}

/// Is it about more records than one?
pub(super) fn is_about_many(command: &Command) -> bool {
    matches!(
        command,
        Command::Lease { .. }
            | Command::Waiting { .. }
            | Command::DeleteQueue(_)
            | Command::GetQueue(_)
            | Command::ListQueues
            | Command::Shift { .. }
            | Command::Scan(_)
            | Command::Count(_)
    )
}
