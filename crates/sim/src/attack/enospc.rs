//! A disk without room: first too little for new deadlines, then too little for anything, then enough
//! again.
//!
//! Ballast takes all room there is beside the server's reserve. Then schedules are refused, while
//! settles and verdicts are taken; when the reserve is used up, everything is refused, and nothing is
//! lost. Once the ballast is gone, the server recovers without a restart. In some cycles it is killed
//! in between.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use super::moment::wall_ms;
use super::mount::Mount;
use super::name::{Name, QUIET, WORKERS};
use super::oracle::Room;
use super::redis::DELETED;
use super::server::{Server, Setup};
use super::way::Way;
use super::wire::Connection;
use super::world::World;
use super::{Field, Options, progress, worker};
use crate::counters::Counters;
use crate::history::{Asked, IfExists, Told, When};

/// Cycles of an ordinary run.
const CYCLES: u64 = 20;
/// The size of the disk.
const MEBIBYTES: u64 = 144;
/// Questions in one request.
const TOGETHER: u64 = 200;
/// More of them than ever fit.
const MOST: u64 = 2_000;
/// The status of a process that has no room to begin with.
const DISK_FAILED: i32 = 74;
/// Settles of each kind tried while schedules are refused.
const SETTLES: usize = 40;
/// How long recovery may take.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let mut field = Field::prepare("enospc", "attack enospc", options, CYCLES)?;
    for figure in ["low", "recovered", "verdicts_while_low"] {
        field.counters.floor(figure, field.cycles);
    }
    field.counters.floor("settles_while_low", field.cycles * 50);
    field.floor_each_way(15);
    field.counters.floor("full", field.cycles / 4);
    field.counters.floor("killed", field.cycles / 4);
    let disk = Mount::memory(&field.folder, MEBIBYTES)?;
    let world = World::new()?;
    let done = fill_up(&mut field, &world, &disk);
    drop(disk);
    field.judged(&world, done)
}

/// All cycles on one disk.
fn fill_up(field: &mut Field, world: &World, disk: &Mount) -> anyhow::Result<()> {
    let setup = Setup { data: disk.point().join("data"), ..field.setup("server")? };
    let mut server = world.start(&setup)?;
    world.declare(&server)?;
    for cycle in 0..field.cycles {
        server = fill(field, world, &setup, server, &disk.point().join("ballast"), cycle)?;
        world.read_latest(&server, &mut field.dice(cycle))?;
        field.take_harms(world, cycle)?;
        field.counters.add("cycles", 1);
        progress(&format!("{}: {} answers", cycle + 1, world.told()));
    }
    field.conclude(world, &server)?;
    server.kill()
}

/// One cycle; gives back a server that works.
fn fill(
    field: &mut Field,
    world: &World,
    setup: &Setup,
    mut server: Server,
    ballast: &Path,
    cycle: u64,
) -> anyhow::Result<Server> {
    let mut connection = server.connect()?;
    let leased = lapse_some(world, &mut connection)?;
    world.oracle.set_room(Room::Low);
    take_all_room(ballast)?;
    let pending = until_schedules_are_refused(world, &mut connection)?;
    field.counters.add("low", 1);
    let mut latest = pending.iter().rev();
    for (way, outcome) in [(Way::Http, "paid"), (Way::Redis, "paid"), (Way::Redis, DELETED)] {
        let settles: Vec<_> =
            latest.by_ref().take(SETTLES).map(|name| (*name, settle(outcome))).collect();
        let mut line = way.open(server.doors())?;
        let replies = world.ask(line.as_mut(), world.new_process(), &settles)?;
        field.counters.add("settles_while_low", replies.len() as u64);
        world.tally.add(way, replies.len());
    }
    ensure!(leased, "nothing was leased before");
    field.counters.add("verdicts_while_low", worker::give_all(world, &mut connection)?);
    let is_full = cycle.is_multiple_of(2);
    if is_full {
        world.oracle.set_room(Room::None);
        until_everything_is_refused(&mut connection, cycle)?;
        field.counters.add("full", 1);
    }
    if cycle.is_multiple_of(3) {
        server.kill()?;
        field.counters.add("killed", 1);
        server = match setup.launch()?.ready_or_ended()? {
            Ok(server) => server,
            Err(code) => {
                // Serving begins with a fact. Without room for it, it says so and ends.
                ensure!(is_full && code == DISK_FAILED, "ended with {code}, full: {is_full}");
                field.counters.add("did_not_start", 1);
                fs::remove_file(ballast)?;
                world.start(setup)?
            }
        };
    }
    fs::remove_file(ballast).unwrap_or_default();
    connection = server.connect()?;
    let begun = Instant::now();
    while schedule_one(world, &mut connection)?.is_none() {
        ensure!(begun.elapsed() < PATIENCE, "there is room, and schedules are still refused");
        thread::sleep(LOOK_EVERY);
    }
    world.oracle.set_room(Room::Enough);
    field.counters.add("recovered", 1);
    Ok(server)
}

/// Lets some deadlines lapse and leases them, so that there is something to give verdicts about.
fn lapse_some(world: &World, connection: &mut Connection) -> anyhow::Result<bool> {
    let names: Vec<Name> = (0..10).map(|_| world.new_name_in(WORKERS)).collect();
    let questions: Vec<_> = names.iter().map(|name| (*name, schedule(1))).collect();
    world.ask(connection, world.new_process(), &questions)?;
    worker::take(world, connection, "10s")?;
    Ok(!world.held.lock().expect("nothing panics while it is held").is_empty())
}

fn take_all_room(ballast: &Path) -> anyhow::Result<()> {
    let mut file = File::create(ballast)?;
    // Ends with the room.
    while file.write_all(&[0; 8 << 10]).is_ok() {}
    while file.write_all(&[0; 512]).is_ok() {}
    Ok(())
}

/// Schedules until there is too little room; those that were taken.
fn until_schedules_are_refused(
    world: &World,
    connection: &mut Connection,
) -> anyhow::Result<Vec<Name>> {
    let mut taken = Vec::new();
    for _ in 0..MOST {
        let questions: Vec<_> =
            (0..TOGETHER).map(|_| (world.new_name_in(QUIET), schedule(3_600_000))).collect();
        let replies = world.ask(connection, world.new_process(), &questions)?;
        let names = questions.iter().map(|(name, _)| *name).zip(&replies);
        taken.extend(names.filter(|(_, reply)| reply.status == 201).map(|(name, _)| name));
        if replies.iter().any(|reply| reply.body["code"] == "storage_low") {
            return Ok(taken);
        }
    }
    anyhow::bail!("schedules are never refused")
}

/// Settles of deadlines that nobody knows are remembered, until there is no room even for that.
fn until_everything_is_refused(connection: &mut Connection, cycle: u64) -> anyhow::Result<()> {
    let mut number = 0;
    for _ in 0..MOST {
        let mut lines = String::new();
        for _ in 0..TOGETHER {
            number += 1;
            let key = format!("{}-{cycle}-{number}", "early".repeat(90));
            let line = json!({
                "op": "settle", "queue": QUIET, "key": key, "outcome": "paid", "remember": "1s"
            });
            lines += &line.to_string();
            lines.push('\n');
        }
        let answer = connection.ask("POST", "/v1/batch", &lines)?;
        for reply in answer.lines() {
            match reply["code"].as_str() {
                None if reply["result"] == "remembered" => {}
                Some("storage_full") => return Ok(()),
                _ => anyhow::bail!("a settle without room is answered {reply}"),
            }
        }
    }
    anyhow::bail!("settles are never refused")
}

/// Tries to schedule one; the answer, if it was not refused.
fn schedule_one(world: &World, connection: &mut Connection) -> anyhow::Result<Option<Told>> {
    let question = [(world.new_name_in(QUIET), schedule(3_600_000))];
    let replies = world.ask(connection, world.new_process(), &question)?;
    let history = world.history();
    let told = history.operations.last().and_then(|last| Some(last.told.as_ref()?.1.clone()));
    Ok(told.filter(|_| replies[0].status == 201))
}

fn schedule(delay: u64) -> Asked {
    Asked::Schedule { if_exists: IfExists::Keep, when: When::DueMs(wall_ms() + delay), over: None }
}

fn settle(outcome: &str) -> Asked {
    Asked::Settle { outcome: outcome.to_owned(), generation: None, remember_ms: None }
}
