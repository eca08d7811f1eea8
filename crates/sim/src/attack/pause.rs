//! SIGSTOP: the whole process stands still while time goes on, and does not know it.
//!
//! Deadlines fall due, leases run out and clients wait meanwhile. Afterwards nothing may be early,
//! everything must lapse, and whatever is told must still have an order.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::load::MIXED;
use super::world::World;
use super::{Field, Options, progress};
use crate::counters::Counters;

/// Cycles of an ordinary run.
const CYCLES: u64 = 60;
/// Answers in a cycle, at least, over all.
const OPERATIONS: u64 = 300;
/// Of these, from clients under load over each protocol.
const EACH_WAY: u64 = 60;
/// How often it is said how it goes.
const EVERY: u64 = 20;

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let mut field = Field::prepare("pause", "attack pause", options, CYCLES)?;
    field.counters.floor("operations", field.cycles * OPERATIONS);
    field.floor_each_way(EACH_WAY);
    field.counters.floor("set_again", field.cycles);
    field.counters.floor("lapsed", field.cycles);
    let world = World::new()?;
    let done = pause(&mut field, &world);
    field.judged(&world, done)
}

/// All cycles of one server.
fn pause(field: &mut Field, world: &World) -> anyhow::Result<()> {
    let server = world.start(&field.setup("server")?)?;
    world.declare(&server)?;
    for cycle in 0..field.cycles {
        let mut dice = field.dice(cycle);
        world.under_load(server.doors(), MIXED, dice.split(), |_| {
            thread::sleep(Duration::from_millis(dice.within(20..=300)));
            server.signal(Signal::STOP);
            // One in six outlasts the workers' leases.
            let longest = if dice.one_in(6) { 2_000 } else { 300 };
            let length = dice.within(5..=longest);
            thread::sleep(Duration::from_millis(length));
            server.signal(Signal::CONT);
            field.counters.add("paused_ms", length);
            thread::sleep(Duration::from_millis(dice.below(100)));
        });
        world.read_latest(&server, &mut dice)?;
        field.take_harms(world, cycle)?;
        field.counters.add("cycles", 1);
        if (cycle + 1) % EVERY == 0 {
            progress(&format!("{}: {} answers", cycle + 1, world.told()));
        }
    }
    field.conclude(world, &server)?;
    server.kill()
}
