//! `duly-costs`: what the parts of Duly cost, without threads, sockets and disks.
//!
//! A work (`works`) is one thing that some part does, with all it needs prepared before. The same
//! works are timed by criterion (`timing`), for a person who optimises, and counted in instructions
//! (`counting`), for two commits that are to be compared: the count is the same on a loud machine.
//! `growth` asks what becomes of the cost when a thousand times as much is pending, and whether any
//! step is long.
//!
//! It asserts that everything was done that it measures. No product code lives here; the product
//! does not know that this exists.

mod counting;
mod growth;
mod shop;
// Private to the engine, which has no reason to show it.
#[path = "../../engine/src/timers/mod.rs"]
#[cfg_attr(test, allow(dead_code, reason = "its tests are run where it belongs"))]
mod timers;
mod timing;
mod works;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As in the product: what the allocator takes is part of the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the parts of Duly cost; `cargo bench --package duly-costs` times them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    way: Way,
}

/// The ways of measuring.
#[derive(Subcommand)]
enum Way {
    /// Counts the instructions that works take, with valgrind: a work and a number on each line.
    Count {
        /// Only works whose names have this in them.
        #[arg(default_value = "")]
        only: String,
    },
    /// Holds the cost of an operation, and the longest step, against how much is pending.
    Growth(growth::Options),
    /// Does one work once: what `count` runs under valgrind.
    #[command(hide = true)]
    Once {
        /// Its name.
        work: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    // Cargo says this, and the rest is for criterion.
    if std::env::args().any(|argument| argument == "--bench") {
        timing::time();
        return Ok(ExitCode::SUCCESS);
    }
    let is_fine = match Arguments::parse().way {
        Way::Count { only } => {
            works::count(&only)?;
            true
        }
        Way::Growth(options) => growth::growth(&options)?,
        Way::Once { work } => {
            works::once(&work)?;
            true
        }
    };
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
