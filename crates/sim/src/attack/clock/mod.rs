//! The clock, attacked: set a little and far, both ways, while the server runs, stands or is down,
//! and what promises 3, 7 and 8 say of it.
//!
//! [`cases`] are played under libfaketime, each on an empty directory. Beside them, once in a run:
//! the machine's real clock is set, to the very time it shows, because only the kernel can tell a
//! server that this has happened; and what the watchdog must see and must not see is done to it
//! ([`still`]).

mod cases;
mod kernel;
mod machine;
mod stage;
mod still;

use std::fs;
use std::thread;

use anyhow::{Context, bail};

use self::cases::{CASES, Case};
use self::stage::Stage;
use super::moment::wall_ms;
use super::{Field, Options, progress};
use crate::counters::Counters;

/// Checks in a case, at least, over all.
const CHECKS: u64 = 60;
/// How often the machine's clock is set.
const SETS: u64 = 20;
/// Cases in which something was wrong, after which no others are played: each may take its time.
const ENOUGH: u64 = 2;
/// How often it is said how it goes.
const EVERY: u64 = 10;
/// A clock of 1970, a little after its beginning.
const DAWN_MS: u64 = 86_400_000;

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let mut field = Field::prepare("clock", "attack clock", options, CASES.len() as u64)?;
    let library = library()?;
    // Nobody is harmed here in the ways that the oracle of the other attacks knows.
    field.counters = Counters::new("attack clock");
    field.counters.floor("cycles", field.cycles);
    field.counters.floor("checks", field.cycles * CHECKS);
    field.counters.floor("clock_sets", SETS);
    field.counters.floor("woken_at_once", SETS / 2);
    field.counters.floor("stalls_told", still::STALLS);
    field.counters.floor("stops_survived", 1);
    let apart = (field.binary.clone(), field.directory("still")?);
    let still = thread::spawn(move || still::run(&apart.0, &apart.1));
    let mut bad = 0;
    for cycle in 0..field.cycles {
        bad += u64::from(!play(&mut field, &library, cycle)?);
        if bad == ENOUGH {
            progress("that is enough to look at");
            break;
        }
        if (cycle + 1) % EVERY == 0 {
            progress(&format!("{} cases, {} checks", cycle + 1, field.counters.value("checks")));
        }
    }
    if let Err(why) = machine::run(&mut field, SETS) {
        field.counters.violation(&format!("the machine's clock was set: {why:#}"));
    }
    let still = still.join().map_err(|_| anyhow::anyhow!("the watchdog's part panicked"))?;
    field.counters.take_in(&still);
    Ok(field.end())
}

/// One case; was all as it should be?
fn play(field: &mut Field, library: &str, cycle: u64) -> anyhow::Result<bool> {
    let place = usize::try_from(cycle % CASES.len() as u64).unwrap_or(0);
    let Case { name, by, is_born_in_1970, play } = CASES[place];
    let mut dice = field.dice(cycle);
    let by = dice.within(by.0..=by.1);
    let folder = field.directory(&format!("case-{cycle}"))?;
    let distance =
        if is_born_in_1970 { DAWN_MS.cast_signed() - wall_ms().cast_signed() } else { 0 };
    let mut stage = Stage::open(&field.binary, &folder, library, distance)?;
    let played = play(&mut stage, by, &mut dice);
    let outcome = stage.close(played);
    field.counters.add("cycles", 1);
    field.counters.add("operations", outcome.operations);
    field.counters.add("checks", outcome.checks);
    for what in &outcome.wrong {
        field.counters.violation(&format!(
            "{name} (by {by} ms): {what} (duly-sim attack clock --seed {}, cycle {cycle})",
            field.seed
        ));
    }
    if outcome.wrong.is_empty() {
        super::remove(&folder);
    }
    Ok(outcome.wrong.is_empty())
}

/// The library that stands between a program and the wall clock.
fn library() -> anyhow::Result<String> {
    let places = fs::read_dir("/usr/lib").context("cannot look for libfaketime")?;
    let mut found = places.filter_map(|place| {
        let file = place.ok()?.path().join("faketime/libfaketimeMT.so.1");
        file.is_file().then(|| file.display().to_string())
    });
    match found.next() {
        Some(library) => Ok(library),
        None => bail!("libfaketime is missing: install the package faketime"),
    }
}
