//! Workers of the pull queue: they lease, and give verdicts at once, later, or never.
//!
//! A lease that a worker was told of holds until its end, also over a restart: nobody else gets the
//! delivery, and a verdict under it is taken.

use std::io;

use serde_json::Value;

use super::load::Load;
use super::moment::wall_ms;
use super::name::{Name, WORKERS};
use super::oracle::{Handed, Harm, instant};
use super::server::Server;
use super::way::{Doors, Line, Way};
use super::world::World;
use crate::dice::Dice;

/// How long leases are asked for, in milliseconds.
const LEASE_MS: u64 = 1_500;

/// A lease in a worker's hands.
#[derive(Clone, Debug)]
pub(super) struct Held {
    name: Name,
    delivery: String,
    token: String,
    attempt: u32,
    until: u64,
}

/// Works until the end.
pub(super) fn run(world: &World, load: &Load, doors: Doors, way: Way, mut dice: Dice) {
    let mut working = || -> io::Result<()> {
        let mut connection = way.open(doors)?;
        let connection = connection.as_mut();
        while !load.is_over() {
            let kept = world.held.lock().expect("nothing panics while it is held").pop();
            if let Some(held) = kept {
                give_verdict(world, connection, &held, "done")?;
            }
            for held in lease(world, connection, "50ms")? {
                match dice.below(100) {
                    ..60 => give_verdict(world, connection, &held, "done")?,
                    60..70 => give_verdict(world, connection, &held, "retry")?,
                    70..80 => touch(world, connection, held)?,
                    80..90 => keep(world, held),
                    // Forgotten: it runs out and comes again.
                    _ => {}
                }
            }
        }
        Ok(())
    };
    load.ended(world, working());
}

impl World {
    /// Works off everything that can be leased now.
    pub(super) fn work_off(&self, server: &Server) -> anyhow::Result<()> {
        let mut connection = server.connect()?;
        while work_once(self, &mut connection, "0s")? > 0 {}
        Ok(())
    }
}

/// Leases what is there and gives a verdict about each.
pub(super) fn work_once(world: &World, connection: &mut dyn Line, wait: &str) -> io::Result<u64> {
    let leased = lease(world, connection, wait)?;
    for held in &leased {
        give_verdict(world, connection, held, "done")?;
    }
    Ok(leased.len() as u64)
}

/// Takes leases and keeps them in hand.
pub(super) fn take(world: &World, connection: &mut dyn Line, wait: &str) -> io::Result<()> {
    let mut leased = lease(world, connection, wait)?;
    world.held.lock().expect("nothing panics while it is held").append(&mut leased);
    Ok(())
}

/// Gives verdicts about all that is kept in hand, of which one must be taken while its lease holds.
pub(super) fn give_all(world: &World, connection: &mut dyn Line) -> io::Result<u64> {
    let held = std::mem::take(&mut *world.held.lock().expect("nothing panics while it is held"));
    for held in &held {
        give_verdict(world, connection, held, "done")?;
    }
    Ok(held.len() as u64)
}

fn lease(world: &World, connection: &mut dyn Line, wait: &str) -> io::Result<Vec<Held>> {
    let answer = connection.lease(WORKERS, 10, wait, LEASE_MS)?;
    let Some(deliveries) = answer["deliveries"].as_array() else {
        world.oracle.found(Harm::Wrong, format!("a lease is answered {answer}"));
        return Ok(Vec::new());
    };
    Ok(deliveries.iter().filter_map(|delivery| leased(world, delivery)).collect())
}

fn leased(world: &World, delivery: &Value) -> Option<Held> {
    let read = Handed::read(delivery);
    let (Some((name, handed)), Some(token), Some(until)) =
        (read, delivery["token"].as_str(), instant(&delivery["leased_until"]))
    else {
        world.oracle.found(Harm::Wrong, format!("a lease nobody understands: {delivery}"));
        return None;
    };
    world.oracle.leased(name, &handed, until, LEASE_MS);
    let Handed { delivery, attempt, .. } = handed;
    Some(Held { name, delivery, token: token.to_owned(), attempt, until })
}

fn give_verdict(
    world: &World,
    connection: &mut dyn Line,
    held: &Held,
    verdict: &str,
) -> io::Result<()> {
    if verdict == "retry" {
        world.oracle.gives_back(held.name, held.attempt);
    }
    let answer = connection.verdict(&held.delivery, &held.token, verdict)?;
    if answer.status != 200 {
        not_taken(world, held, &answer.body, verdict);
    } else if verdict == "done" {
        world.oracle.done(held.name, held.attempt);
    }
    Ok(())
}

/// Asks to keep a lease longer, and keeps it.
fn touch(world: &World, connection: &mut dyn Line, mut held: Held) -> io::Result<()> {
    let answer = connection.touch(&held.delivery, &held.token, 2 * LEASE_MS)?;
    match instant(&answer.body["leased_until"]) {
        Some(until) => {
            world.oracle.keeps(held.name, held.attempt, until);
            held.until = until;
            keep(world, held);
        }
        None => not_taken(world, &held, &answer.body, "touch"),
    }
    Ok(())
}

fn keep(world: &World, held: Held) {
    world.held.lock().expect("nothing panics while it is held").push(held);
}

/// Only a lease that has run out may be refused.
fn not_taken(world: &World, held: &Held, answer: &Value, what: &str) {
    let has_run_out = wall_ms() >= held.until;
    if answer["code"] != "lease_lost" || !has_run_out {
        let why = format!("{what} under a lease until {} is answered {answer}", held.until);
        world.oracle.harm(Harm::Lost, held.name, &why);
    }
}
