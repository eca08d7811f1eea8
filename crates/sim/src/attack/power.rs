//! Power cuts: whatever was not synced is gone when the machine comes back.
//!
//! The data lies on a file system of its own, which is told to stop writing at once, log and all;
//! then it is taken away and mounted again. That this really loses what was not synced is checked in
//! every cycle with a file that nobody synced. So an answer that left before its sync is found out;
//! all the more when syncs are made to wait before they begin, as in every other pair of cycles: on
//! this kind of disk what a sync has begun with is as good as there.

use std::fs;
use std::thread;
use std::time::Duration;

use super::load::MIXED;
use super::mount::{Cut, Mount};
use super::server::Setup;
use super::strace::{self, Calls};
use super::world::World;
use super::{Field, Options, progress};
use crate::counters::Counters;

/// Cycles of an ordinary run.
const CYCLES: u64 = 300;
/// Answers in a cycle, at least, over all.
const OPERATIONS: u64 = 100;
/// How long a slow sync waits before it begins.
const WAIT_MS: u64 = 10;
/// The size of the disk.
const MEBIBYTES: u64 = 1_024;
/// Of these, from clients under load over each protocol.
const EACH_WAY: u64 = 7;
/// How often it is said how it goes.
const EVERY: u64 = 25;

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let mut field = Field::prepare("power", "attack power", options, CYCLES)?;
    let disk = Mount::image(&field.folder, MEBIBYTES)?;
    field.counters.floor("operations", field.cycles * OPERATIONS);
    field.floor_each_way(EACH_WAY);
    field.counters.floor("set_again", field.cycles / 2);
    // A cut that loses nothing would prove nothing.
    field.counters.floor("unsynced_lost", field.cycles * 9 / 10);
    field.counters.floor("settled", field.cycles);
    field.counters.floor("lapsed", field.cycles);
    let world = World::new()?;
    let done = cut(&mut field, &world, &disk);
    drop(disk);
    field.judged(&world, done)
}

/// All cycles on one disk.
fn cut(field: &mut Field, world: &World, disk: &Mount) -> anyhow::Result<()> {
    let swift = Setup { data: disk.point().join("data"), ..field.setup("server")? };
    let calls = Calls::SlowSyncs { wait_ms: WAIT_MS };
    let through = strace::through(&calls, &swift.folder.join("calls.log"));
    let slow = Setup { through, ..swift.clone() };
    let mut server = world.start(&swift)?;
    world.declare(&server)?;
    for cycle in 0..field.cycles {
        let mut dice = field.dice(cycle);
        let control = disk.point().join("control");
        fs::write(&control, format!("{cycle}"))?;
        let log = if cycle.is_multiple_of(2) { Cut::LogSurvives } else { Cut::LogLost };
        world.under_load(server.doors(), MIXED, dice.split(), |load| {
            thread::sleep(Duration::from_millis(dice.within(10..=160)));
            load.server_may_die();
            disk.cut(log)?;
            server.kill()
        })?;
        disk.power_up()?;
        let survived = fs::read_to_string(&control).is_ok_and(|kept| kept == format!("{cycle}"));
        field.counters.add("unsynced_lost", u64::from(!survived));
        fs::remove_file(&control).unwrap_or_default();
        // Two cycles of one kind, then two of the other.
        server = world.start(if cycle % 4 < 2 { &slow } else { &swift })?;
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
