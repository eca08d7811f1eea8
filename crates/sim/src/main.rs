//! `duly-sim`: proves what Duly promises, and shows that the proofs have teeth.
//!
//! Each command is one way of proving. All of them print how they get on while they work, end with
//! one line of [`counters`], and fail on any violation and when they did less than they were meant
//! to. No product code lives here; the product does not know that this exists.

mod amount;
mod attack;
mod counters;
mod dice;
mod fuzz;
mod history;
mod life;
mod linearize;
mod load;
mod markers;
mod oracle;
mod run;
mod small;
mod upgrade;
mod world;
mod zoo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use amount::Amount;

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
    /// Lives simulated lives with faults, and judges them by the promises.
    Run(run::Options),
    /// Lives one life twice: the same seed gives the same bytes.
    Twice {
        /// Which.
        #[arg(long)]
        seed: u64,
    },
    /// Lets one seeded defect loose after the other: every one must be caught by some suite.
    Zoo {
        /// Try only this one.
        #[arg(long)]
        bug: Option<String>,
    },
    /// Everything that can go wrong in a small world, at every place there is.
    Small(small::Small),
    /// Freezes a data directory of the present format, once for each format there is.
    Freeze {
        /// A folder that is empty or not there.
        into: PathBuf,
        /// Which story.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Judges a history: JSON lines of what clients asked and were told (`src/history/mod.rs`).
    History {
        /// The file.
        file: PathBuf,
    },
    /// Attacks the built binary, with an oracle that remembers what anybody was told.
    #[command(subcommand)]
    Attack(attack::Attack),
    /// Measures a server that is there already: what `scripts/bench` asks for.
    Load(load::Options),
    /// Feeds every parser and decoder what nobody would write.
    Fuzz {
        /// How often, all together; as an ordinary run does unless it is said.
        #[arg(long)]
        executions: Option<u64>,
        #[command(flatten)]
        amount: Amount,
        /// Only this parser.
        #[arg(long)]
        target: Option<String>,
        /// Where the choices come from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    if let Err(error) = zoo::open() {
        return counters::broken(&error);
    }
    if std::env::args().nth(1).is_some_and(|word| word == "serve") {
        // `duly serve`, in the build in which a bug can be loose: for attacks on it.
        return duly::cli::main();
    }
    let Arguments { way } = Arguments::parse();
    let done = match way {
        Way::Run(options) => run::run(&options),
        Way::Twice { seed } => run::twice(seed),
        Way::Zoo { bug } => zoo::run(bug.as_deref()),
        Way::Small(small) => small::run(&small),
        Way::Freeze { into, seed } => upgrade::freeze(&into, seed),
        Way::History { file } => linearize::run(&file),
        Way::Attack(attack) => attack::run(&attack),
        Way::Load(options) => load::run(&options),
        Way::Fuzz { executions, amount, target, seed } => {
            let executions = executions.unwrap_or(fuzz::EXECUTIONS * amount.times());
            fuzz::run(executions, target.as_deref(), seed)
        }
    };
    match done {
        Ok(counters) => counters.end(),
        Err(error) => counters::broken(&error),
    }
}
