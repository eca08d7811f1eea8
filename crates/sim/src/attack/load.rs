//! A period of load: clients and workers at work, while something is done to the server.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::oracle::Harm;
use super::way::{Doors, Way};
use super::world::World;
use super::{client, worker};
use crate::dice::Dice;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) clients: u64,
    pub(super) workers: u64,
    /// Of a hundred requests so many are batches.
    pub(super) batches: u64,
}

/// What a mixed load is, unless an attack wants another.
pub(super) const MIXED: Plan = Plan { clients: 8, workers: 2, batches: 10 };

/// One period.
pub(super) struct Load {
    pub(super) batches: u64,
    dying: AtomicBool,
    over: AtomicBool,
}

impl Load {
    /// From now on broken connections are no surprise.
    pub(super) fn server_may_die(&self) {
        self.dying.store(true, Ordering::Release);
    }

    /// Should clients stop asking?
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// A client ended so. A server that lives drops no connection.
    pub(super) fn ended(&self, world: &World, how: io::Result<()>) {
        if let Err(error) = how
            && !self.dying.load(Ordering::Acquire)
        {
            world.oracle.found(Harm::Wrong, format!("a connection to a live server: {error}"));
        }
    }
}

impl World {
    /// Puts the server under load, does this to it meanwhile, and comes back when all have ended.
    pub(super) fn under_load<T>(
        &self,
        doors: Doors,
        plan: Plan,
        mut dice: Dice,
        strike: impl FnOnce(&Load) -> T,
    ) -> T {
        let Plan { clients, workers, batches } = plan;
        let load = Load { batches, dying: AtomicBool::new(false), over: AtomicBool::new(false) };
        thread::scope(|scope| {
            for nth in 0..clients {
                let (dice, load) = (dice.split(), &load);
                scope.spawn(move || client::run(self, load, doors, Way::of_nth(nth), dice));
            }
            for nth in 0..workers {
                let (dice, load) = (dice.split(), &load);
                scope.spawn(move || worker::run(self, load, doors, Way::of_nth(nth), dice));
            }
            let struck = strike(&load);
            load.over.store(true, Ordering::Release);
            struck
        })
    }
}
