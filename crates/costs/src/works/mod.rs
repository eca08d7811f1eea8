//! The works: one table, and a file for each part of the product.
//!
//! A work prepares what it needs for some operations, runs them, and then checks that they were
//! done. Only the run is measured. It must do the same every time, and depend on nothing from outside.

mod engine;
mod facts;
#[cfg(feature = "http")]
mod http;
mod journal;
mod timers;
mod wire;

use std::io::{Write, stdout};

use anyhow::Context;

use crate::counting::{instructions, measured};

/// Something that is measured.
pub(crate) trait Work {
    /// Makes everything ready for so many operations; what the last run left is put away.
    fn prepare(&mut self, many: usize);
    /// Does them.
    fn run(&mut self);
    /// Asserts that the last run did what it was to do.
    fn check(&self);
}

/// A line of the table.
pub(crate) struct Named {
    /// The part and what it does.
    pub(crate) name: &'static str,
    /// How many operations are prepared at once, and counted.
    pub(crate) slice: usize,
    /// Begins it.
    pub(crate) begin: fn() -> Box<dyn Work>,
}

/// The table.
pub(crate) fn all() -> Vec<Named> {
    let mut all = Vec::new();
    all.extend(engine::WORKS);
    all.extend(timers::WORKS);
    all.extend(facts::WORKS);
    all.extend(journal::WORKS);
    all.extend(wire::WORKS);
    #[cfg(feature = "http")]
    all.extend(http::WORKS);
    all
}

/// Counts the works with this in their names, and prints the instructions for one operation.
pub(crate) fn count(only: &str) -> anyhow::Result<()> {
    for Named { name, slice, .. } in all().iter().filter(|named| named.name.contains(only)) {
        // Of two, since now and then the allocator does something more that nobody asked for.
        let [one, other] = [instructions(&["once", name])?, instructions(&["once", name])?];
        let least = one.iter().sum::<u64>().min(other.iter().sum());
        writeln!(stdout(), "{name}\t{}", least / *slice as u64)?;
    }
    Ok(())
}

/// Does one slice of a work as it is counted: the second, since the first meets much for the first time.
pub(crate) fn once(name: &str) -> anyhow::Result<()> {
    let works = all();
    let named = works.iter().find(|named| named.name == name).context("there is no such work")?;
    let mut work = (named.begin)();
    work.prepare(named.slice);
    work.run();
    work.check();
    work.prepare(named.slice);
    measured(&mut || work.run());
    work.check();
    Ok(())
}
