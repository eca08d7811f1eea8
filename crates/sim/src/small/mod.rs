//! Exhaustive small worlds: everything that can go wrong in one place, at every place there is.
//!
//! The worlds are small enough to try all of it: a journal cut at every byte, every bit of a journal
//! flipped, every call of a script to the disk failed, every bit of an archive's rows flipped. Each
//! case is opened by the product's own code and the whole state that comes of it is compared.

mod archived;
mod cut;
mod digest;
mod flip;
mod folder;
mod heard;
mod io;
mod many;
mod rows;
mod server;
mod story;

pub(crate) use archived::catch_up;
pub(crate) use folder::Folder;
pub(crate) use server::{SMALL, Server};
pub(crate) use story::{QUEUES, Story, key};

use clap::{Args, ValueEnum};

use crate::amount::Amount;
use crate::counters::Counters;

/// Which small world, and how much of it.
#[derive(Args)]
pub(crate) struct Small {
    /// What is cut, flipped or failed.
    world: World,
    #[command(flatten)]
    amount: Amount,
    /// Where the stories begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum World {
    /// A journal cut at every byte.
    Cut,
    /// Every bit of a journal flipped.
    Flip,
    /// Every call of a script to the disk failed.
    Io,
    /// Every bit of an archive's rows flipped, every entry of its indexes lost.
    Rows,
}

/// Tries all of a small world.
pub(crate) fn run(small: &Small) -> anyhow::Result<Counters> {
    let times = small.amount.times();
    match small.world {
        World::Cut => cut::run(small.seed, times),
        World::Flip => flip::run(small.seed, times),
        World::Io => io::run(small.seed, times),
        World::Rows => rows::run(small.seed, times),
    }
}
