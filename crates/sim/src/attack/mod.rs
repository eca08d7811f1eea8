//! Attacks on the product's own binary, as it is shipped: killed, paused, starved of memory, cut from
//! power, on disks that fail and disks that are full.
//!
//! Every attack is the same three things: a [`load`] of clients and workers, something done to the
//! server meanwhile, and an [`oracle`] in this process that remembers what anybody was told. Each
//! counts what it did and fails below its floors.

mod ask;
mod client;
mod clock;
mod enospc;
mod fsync;
mod kill;
mod load;
mod memory;
mod moment;
mod mount;
mod name;
mod oracle;
mod pause;
mod power;
mod redis;
mod resp;
mod server;
mod strace;
mod target;
mod way;
mod wire;
mod worker;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use self::oracle::Harm;
use self::server::{Segments, Server, Setup};
use self::way::Way;
use self::world::World;
use crate::amount::Amount;
use crate::counters::Counters;
use crate::dice::Dice;
use crate::{linearize, zoo};

/// After so many violations an attack is called off: each may be followed by thousands.
const ENOUGH: u64 = 20;

/// What is done to the server.
#[derive(Debug, Subcommand)]
pub(crate) enum Attack {
    /// SIGKILL at random moments, also while it starts.
    Kill(Options),
    /// The wall clock set both ways, a little and far; what the watchdog must see and must not.
    Clock(Options),
    /// Power cuts: what was not synced is lost.
    Power(Options),
    /// A sync that fails, and syncs that take long.
    Fsync(Options),
    /// A disk without room.
    Enospc(Options),
    /// SIGSTOP for a while.
    Pause(Options),
    /// Too little memory: the system kills it.
    Memory(memory::Options),
}

/// How an attack goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How many times; the floor of an ordinary run unless it is said.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    cycles: Option<u64>,
    #[command(flatten)]
    amount: Amount,
    /// What all choices follow from. Threads and processes still race: a seed repeats the plan, not
    /// the run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary to attack; the one beside this program unless it is said.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where to work; a directory of its own among the temporary ones unless it is said.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Attacks.
pub(crate) fn run(attack: &Attack) -> anyhow::Result<Counters> {
    match attack {
        Attack::Kill(options) => kill::run(options),
        Attack::Clock(options) => clock::run(options),
        Attack::Power(options) => power::run(options),
        Attack::Fsync(options) => fsync::run(options),
        Attack::Enospc(options) => enospc::run(options),
        Attack::Pause(options) => pause::run(options),
        Attack::Memory(options) => memory::run(options),
    }
}

/// The place and the figures of one attack.
struct Field {
    name: &'static str,
    binary: PathBuf,
    folder: PathBuf,
    seed: u64,
    cycles: u64,
    counters: Counters,
}

impl Field {
    /// Prepares an attack that does so many cycles in an ordinary run.
    fn prepare(
        name: &'static str,
        counted_as: &'static str,
        options: &Options,
        cycles: u64,
    ) -> anyhow::Result<Field> {
        let own = std::env::current_exe().context("this program has a file")?;
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            // The product itself has no bugs to let loose.
            None if std::env::var_os(zoo::LOOSE).is_some() => own,
            None => own.with_file_name("duly"),
        };
        if !binary.is_file() {
            bail!(
                "{} is missing; build it with `cargo build --release -p duly`, and this program \
                 with `--release` into the same directory, or name it with --binary",
                binary.display()
            );
        }
        let own = || std::env::temp_dir().join(format!("duly-{name}-{}", std::process::id()));
        let folder = options.folder.clone().unwrap_or_else(own);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let cycles = options.cycles.unwrap_or(cycles * options.amount.times());
        let mut counters = Counters::new(counted_as);
        counters.floor("cycles", cycles);
        counters.add("operations", 0);
        for harm in Harm::ALL {
            counters.add(harm.name(), 0);
        }
        Ok(Field { name, binary, folder, seed: options.seed, cycles, counters })
    }

    /// Of what clients under load are answered, so much in a cycle comes over each protocol at least,
    /// over all.
    fn floor_each_way(&mut self, answers: u64) {
        for way in Way::ALL {
            self.counters.floor(way.figure(), self.cycles * answers);
        }
    }

    /// A directory of its own inside the folder.
    fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// A server that has not been started yet, in a directory of its own.
    fn setup(&self, name: &str) -> anyhow::Result<Setup> {
        let folder = self.directory(name)?;
        Ok(Setup {
            binary: self.binary.clone(),
            data: folder.join("data"),
            folder,
            segments: Segments::Small,
            through: Vec::new(),
        })
    }

    /// The choices of a cycle.
    fn dice(&self, cycle: u64) -> Dice {
        Dice::new(self.seed.wrapping_mul(1_000_003).wrapping_add(cycle))
    }

    /// Counts the harm found so far, with what repeats it. After enough of it there is no going on.
    fn take_harms(&mut self, world: &World, cycle: u64) -> anyhow::Result<()> {
        let Field { name, seed, .. } = *self;
        for (harm, why) in world.oracle.take_harms() {
            self.counters.add(harm.name(), 1);
            if self.counters.violations() < ENOUGH {
                self.counters.violation(&format!(
                    "{}: {why} (duly-sim attack {name} --seed {seed}, cycle {cycle})",
                    harm.name()
                ));
            }
        }
        anyhow::ensure!(self.counters.violations() < ENOUGH, "that is enough to look at");
        Ok(())
    }

    /// Everything that fell due is acted on, and every record is as it was told.
    fn conclude(&mut self, world: &World, server: &Server) -> anyhow::Result<()> {
        if self.counters.violations() == 0 {
            world.conclude(server)?;
        }
        self.take_harms(world, self.cycles)?;
        let (settled, lapsed) = world.oracle.outcomes();
        let figures = [
            ("operations", world.told()),
            ("settled", settled),
            ("lapsed", lapsed),
            ("webhooks", world.target.received()),
            ("set_again", world.set_again()),
        ];
        let ways = Way::ALL.map(|way| (way.figure(), world.tally.of(way)));
        for (figure, value) in figures.into_iter().chain(ways) {
            self.counters.add(figure, value);
        }
        linearize::check(&world.history()).count(&mut self.counters);
        Ok(())
    }

    /// The end, whether or not the work was done: what cannot be gone on with because of harm is
    /// harm, and nothing else.
    fn judged(mut self, world: &World, done: anyhow::Result<()>) -> anyhow::Result<Counters> {
        let cycle = self.counters.value("cycles");
        match self.take_harms(world, cycle).and(done) {
            Ok(()) => Ok(self.end()),
            Err(why) if self.counters.violations() > 0 => {
                self.counters.violation(&format!("it cannot go on: {why:#}"));
                Ok(self.end())
            }
            Err(why) => Err(why),
        }
    }

    /// The figures at the end. What was worked on stays to be looked at if anything was found.
    fn end(self) -> Counters {
        if self.counters.violations() == 0 {
            remove(&self.folder);
        } else {
            progress(&format!("kept for a look: {}", self.folder.display()));
        }
        self.counters
    }
}

fn remove(folder: &Path) {
    // What cannot be removed is seen by whoever looks at the temporary directory.
    std::fs::remove_dir_all(folder).unwrap_or_default();
}

/// Says how it gets on.
#[expect(clippy::print_stderr, reason = "a long run shows that it lives")]
fn progress(line: &str) {
    eprintln!("{line}");
}
