//! `kill -9` at random moments, again and again on the same directory.
//!
//! A killed process loses nothing that it has written, synced or not: this attack shows that the
//! state in memory can be had again from the journal at any moment, with whatever was half done.
//! Whether anybody was told too soon only a power cut shows.

use std::thread;
use std::time::{Duration, Instant};

use super::load::MIXED;
use super::server::{Segments, Setup};
use super::world::World;
use super::{Field, Options, progress};
use crate::counters::Counters;

/// Cycles of an ordinary run.
const CYCLES: u64 = 300;
/// Of ten cycles one has segments of the default size.
const DEFAULT_SEGMENTS_IN: u64 = 10;
/// Answers in a cycle, at least, over all.
const OPERATIONS: u64 = 340;
/// Of these, from clients under load over each protocol.
const EACH_WAY: u64 = 30;
/// How often it is said how it goes.
const EVERY: u64 = 25;

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let mut field = Field::prepare("kill", "attack kill", options, CYCLES)?;
    field.counters.floor("operations", field.cycles * OPERATIONS);
    field.floor_each_way(EACH_WAY);
    field.counters.floor("set_again", field.cycles);
    field.counters.floor("settled", field.cycles);
    field.counters.floor("lapsed", field.cycles);
    field.counters.floor("segments_freed", field.cycles / 20);
    let with_default = field.cycles.div_ceil(DEFAULT_SEGMENTS_IN);
    let with_small = field.cycles - with_default;
    let small = World::new()?;
    let done = punish(&mut field, &small, "small", Segments::Small, with_small);
    let default = World::new()?;
    let done = done
        .and_then(|()| punish(&mut field, &default, "default", Segments::Default, with_default));
    let done = field.take_harms(&small, with_small).and(done);
    field.judged(&default, done)
}

/// So many cycles over one directory.
fn punish(
    field: &mut Field,
    world: &World,
    name: &str,
    segments: Segments,
    cycles: u64,
) -> anyhow::Result<()> {
    let setup = Setup { segments, ..field.setup(name)? };
    let mut server = world.start(&setup)?;
    world.declare(&server)?;
    let mut open_ms = 0;
    for cycle in 0..cycles {
        let mut dice = field.dice(cycle);
        let clients = dice.split();
        world.under_load(server.doors(), MIXED, clients, |load| {
            thread::sleep(Duration::from_millis(dice.within(20..=220)));
            load.server_may_die();
            server.kill()
        })?;
        while dice.percent(15) {
            let launched = setup.launch()?;
            thread::sleep(Duration::from_millis(dice.below(30)));
            launched.kill()?;
            field.counters.add("killed_at_start", 1);
        }
        let begun = Instant::now();
        server = world.start(&setup)?;
        open_ms += u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        world.read_latest(&server, &mut dice)?;
        field.take_harms(world, cycle)?;
        field.counters.add("cycles", 1);
        if (cycle + 1) % EVERY == 0 {
            progress(&format!("{name} {}: {} answers", cycle + 1, world.told()));
        }
    }
    field.conclude(world, &server)?;
    field.counters.add("segments_freed", setup.segments_freed()?);
    progress(&format!("{name}: opened in {} ms, on average", open_ms / cycles.max(1)));
    Ok(())
}
