//! One client under attack: it schedules, settles, extends, freezes and reads deadlines that other
//! clients change at the same time, alone or in batches, over one protocol or the other, until its connection breaks or the load ends.

use std::io;

use super::load::Load;
use super::moment::wall_ms;
use super::name::Name;
use super::redis::DELETED;
use super::way::{Doors, Way};
use super::world::World;
use crate::dice::Dice;
use crate::history::{Asked, By, IfExists, When};

/// Questions in a batch.
const BATCH: u64 = 12;

/// Asks until the end.
pub(super) fn run(world: &World, load: &Load, doors: Doors, way: Way, mut dice: Dice) {
    let process = world.new_process();
    let mut asking = || -> io::Result<()> {
        let mut connection = way.open(doors)?;
        while !load.is_over() {
            let questions = if dice.percent(load.batches) {
                batch(world, way, &mut dice)
            } else {
                vec![question(world, way, &mut dice)]
            };
            let replies = world.ask(connection.as_mut(), process, &questions)?;
            world.tally.add(way, replies.len());
        }
        Ok(())
    };
    load.ended(world, asking());
}

fn question(world: &World, way: Way, dice: &mut Dice) -> (Name, Asked) {
    let roll = dice.below(100);
    let name = if roll < 30 { None } else { world.some_name(dice) };
    let Some(name) = name else { return (world.new_name(), schedule(way, dice)) };
    if name.is_set_again() && dice.percent(40) {
        return (name, set(dice));
    }
    let asked = match roll {
        ..60 => Asked::Settle {
            outcome: match way {
                Way::Redis if dice.percent(50) => DELETED,
                _ if dice.percent(80) => "paid",
                _ => "cancelled",
            }
            .to_owned(),
            generation: None,
            remember_ms: None,
        },
        60..65 if way == Way::Redis => {
            let due = wall_ms() + dice.within(200..=2_000);
            Asked::Extend { by: By::DueMs(due), if_due_ms: None }
        }
        60..70 => Asked::Extend { by: By::LaterMs(dice.within(20..=400)), if_due_ms: None },
        70..76 => Asked::Freeze { for_ms: 300 },
        _ => Asked::Get,
    };
    (name, asked)
}

/// Sets a key, whatever is there: also over one that is pending, was settled or has lapsed.
fn set(dice: &mut Dice) -> Asked {
    let when = match dice.below(2) {
        0 => When::AfterMs(dice.within(10..=400)),
        _ => When::DueMs(wall_ms() + dice.within(10..=400)),
    };
    Asked::Schedule { if_exists: IfExists::Replace, when, over: None }
}

/// Most are due soon, so that they fall due under load, at the kill, and while nobody serves.
fn schedule(way: Way, dice: &mut Dice) -> Asked {
    let delay = match dice.below(100) {
        ..85 => dice.within(10..=1_200),
        85..95 => dice.within(1_200..=3_000),
        _ => dice.within(3_600_000..=7_200_000),
    };
    // Half of those that set a key set it for so long, half until then.
    let (if_exists, when) = match (way, dice.below(4)) {
        (Way::Redis, 0) => (IfExists::Replace, When::AfterMs(delay)),
        (Way::Redis, 1) => (IfExists::Replace, When::DueMs(wall_ms() + delay)),
        _ => (IfExists::Keep, When::DueMs(wall_ms() + delay)),
    };
    Asked::Schedule { if_exists, when, over: None }
}

/// Questions about different deadlines: those about one and the same would have an order.
fn batch(world: &World, way: Way, dice: &mut Dice) -> Vec<(Name, Asked)> {
    let mut questions: Vec<(Name, Asked)> = Vec::new();
    for _ in 0..BATCH {
        let (name, asked) = question(world, way, dice);
        if questions.iter().all(|(other, _)| *other != name) {
            questions.push((name, asked));
        }
    }
    questions
}
