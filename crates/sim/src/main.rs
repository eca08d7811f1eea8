//! `duly-sim`: proves what Duly promises, and shows that the proofs have teeth.
//!
//! Each command is one way of proving. All of them print how they get on while they work, end with
//! one line of [`counters`], and fail on any violation and when they did less than they were meant
//! to. No product code lives here; the product does not know that this exists.

mod counters;
mod zoo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Proves the promises of Duly.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    way: Way,
}

/// The ways of proving.
#[derive(Subcommand)]
enum Way {
    /// Names the seeded defects.
    Bugs,
}

fn main() -> ExitCode {
    let Arguments { way } = Arguments::parse();
    let done = match way {
        Way::Bugs => zoo::list(),
    };
    match done {
        Ok(counters) => counters.end(),
        Err(error) => counters::broken(&error),
    }
}
