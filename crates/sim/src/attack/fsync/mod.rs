//! Syncs and writes that fail, and syncs that take long.
//!
//! A failed sync ends the process with status 74, nothing is answered after it, and what was answered
//! before is there after a restart: another sync each time, of the journal or of anything else, also
//! at the start; and the same for writes of the journal. And the [`probe`]: when every sync waits,
//! every acknowledgement waits.

mod probe;

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::load::{Load, Plan};
use super::moment::wall_ms;
use super::oracle::Harm;
use super::server::{Server, Setup};
use super::strace::{self, Calls};
use super::world::World;
use super::{Field, Options, progress};
use crate::counters::Counters;
use crate::dice::Dice;

/// Cycles of an ordinary run.
const CYCLES: u64 = 50;
/// The status of a process whose disk failed.
const DISK_FAILED: i32 = 74;
/// How long the failing sync takes: time in which somebody might be answered.
const LINGER_MS: u64 = 100;
/// The latest sync of a thread that is made to fail, and the latest write.
const LATEST_SYNC: u64 = 120;
const LATEST_WRITE: u64 = 25;
/// One cycle in so many has failing writes.
const WRITES_IN: u64 = 5;
/// What the system says when it fails.
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// Segments that are not there yet and may be begun before anything fails.
const NEXT_SEGMENTS: u64 = 3;
/// How long the failing sync may be waited for, and the end after it.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOAD: Plan = Plan { clients: 24, workers: 1, batches: 5 };
/// Answers to clients in a cycle, at least, over all, over each protocol.
const EACH_WAY: u64 = 30;
/// How often it is said how it goes.
const EVERY: u64 = 10;

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let mut field = Field::prepare("fsync", "attack fsync", options, CYCLES)?;
    field.counters.floor("failed_calls", field.cycles);
    field.counters.floor("failed_writes", field.cycles / WRITES_IN);
    field.counters.floor("of_the_journal", field.cycles / 3);
    field.counters.floor("asked_after_failure", field.cycles / 3);
    field.floor_each_way(EACH_WAY);
    let world = World::new()?;
    let done = fail_again_and_again(&mut field, &world);
    field.judged(&world, done)
}

/// All cycles over one directory, and the probe.
fn fail_again_and_again(field: &mut Field, world: &World) -> anyhow::Result<()> {
    let setup = field.setup("server")?;
    let mut server = world.start(&setup)?;
    world.declare(&server)?;
    for cycle in 0..field.cycles {
        server.kill()?;
        server = fail(field, world, &setup, cycle)?;
        field.take_harms(world, cycle)?;
        field.counters.add("cycles", 1);
        if (cycle + 1) % EVERY == 0 {
            progress(&format!("{}: {} answers", cycle + 1, world.told()));
        }
    }
    field.conclude(world, &server)?;
    server.kill()?;
    probe::run(field)
}

/// One cycle; gives back a server that works.
fn fail(field: &mut Field, world: &World, setup: &Setup, cycle: u64) -> anyhow::Result<Server> {
    let mut dice = field.dice(cycle);
    let calls = calls(setup, cycle, &mut dice)?;
    let log = setup.folder.join(format!("calls-{cycle}.log"));
    let traced = Setup { through: strace::through(&calls, &log), ..setup.clone() };
    let asked_before = world.history().operations.len();
    let launched = wall_ms();
    let code = match traced.launch()?.ready_or_ended()? {
        Err(code) => {
            field.counters.add("at_start", 1);
            Some(code)
        }
        Ok(server) => {
            world.oracle.opened(launched, wall_ms());
            world.under_load(server.doors(), LOAD, dice.split(), |load| {
                until_it_ends(server, load, &log)
            })?
        }
    };
    let what = |what: &str| format!("{what} (duly-sim attack fsync, cycle {cycle}, {calls:?})");
    match (code, strace::failures(&log).first()) {
        (Some(DISK_FAILED), Some(failure)) => {
            field.counters.add("failed_calls", 1);
            let is_write = matches!(calls, Calls::FailingWrites { .. });
            field.counters.add("failed_writes", u64::from(is_write));
            if failure.is_of_journal() {
                field.counters.add("of_the_journal", 1);
                let asked = nothing_told_after(world, asked_before, failure.at_ms);
                field.counters.add("asked_after_failure", asked);
            }
        }
        (Some(code), failure) => {
            field.counters.violation(&what(&format!("ended with {code} after {failure:?}")));
        }
        (None, Some(failure)) => {
            field.counters.violation(&what(&format!("went on after {failure:?}")));
        }
        (None, None) => field.counters.violation(&what("nothing failed")),
    }
    let server = world.start(setup)?;
    world.read_latest(&server, &mut dice)?;
    Ok(server)
}

/// What fails in this cycle.
fn calls(setup: &Setup, cycle: u64, dice: &mut Dice) -> anyhow::Result<Calls> {
    let (error, linger_ms) = (*dice.pick(&ERRORS), LINGER_MS);
    if !cycle.is_multiple_of(WRITES_IN) {
        let nth = dice.within(1..=LATEST_SYNC);
        // Anything but the journal waits for room on a full disk; the journal needs none.
        return Ok(Calls::FailingSync { nth, error: ERRORS[0], linger_ms });
    }
    let last = setup.last_segment()?;
    let files = (last..=last + NEXT_SEGMENTS).map(|number| setup.segment(number)).collect();
    let nth = dice.within(1..=LATEST_WRITE);
    Ok(Calls::FailingWrites { nth, error, linger_ms, files })
}

/// Waits until the server has ended by itself; `None` if it did not.
fn until_it_ends(mut server: Server, load: &Load, log: &Path) -> anyhow::Result<Option<i32>> {
    load.server_may_die();
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        if server.has_ended() {
            return server.wait().map(Some);
        }
        // One that lives on is found out long before patience ends.
        let factor = if strace::failures(log).is_empty() { 1 } else { 10 };
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY * factor;
    }
    server.kill()?;
    Ok(None)
}

/// Nobody who asked after the failing sync was called is told anything: what could be told would have
/// to be synced after it. How many asked.
fn nothing_told_after(world: &World, from: usize, failed_at_ms: u64) -> u64 {
    let history = world.history();
    let after =
        history.operations[from..].iter().filter(|operation| operation.asked_at.ms > failed_at_ms);
    let mut asked = 0;
    for operation in after {
        asked += 1;
        if operation.told.is_some() {
            let why = format!("answered after a failed sync: {operation:?}");
            world.oracle.found(Harm::Wrong, why);
        }
    }
    asked
}
