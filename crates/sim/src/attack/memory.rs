//! Too little memory: the system kills the server in the middle of its work, as it kills any process
//! that outgrows its container.
//!
//! The server runs in a group of processes of its own with a limit that it can start and work under,
//! until batches of many megabytes arrive at once. Needs the memory controller of cgroup v1 or v2.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::load::MIXED;
use super::server::{Server, Setup};
use super::wire::Connection;
use super::world::World;
use super::{Field, progress};
use crate::counters::Counters;

/// Cycles of an ordinary run.
const CYCLES: u64 = 15;
/// What the server may use.
const LIMIT_BYTES: u64 = 64 << 20;
/// How a process ends that the system killed.
const KILLED: i32 = 137;
/// Requests that are to be too much, at once, and how large they are.
const GREEDY: usize = 12;
const GREEDY_BYTES: usize = 15 << 20;
/// How long the server may take to outgrow its limit.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How the attack goes.
#[derive(Clone, Debug, clap::Args)]
// The options that it shares with the other attacks are a group of the same name.
#[group(id = "memory")]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Options,
    /// Leave it out, and say so, where this system has no memory controller.
    #[arg(long)]
    may_be_left_out: bool,
}

/// Attacks.
pub(super) fn run(options: &Options) -> anyhow::Result<Counters> {
    let group = match Group::make() {
        Ok(group) => group,
        Err(why) if options.may_be_left_out => {
            progress(&format!("LEFT OUT: too little memory ({why:#})"));
            let mut counters = Counters::new("attack memory");
            counters.add("left_out", 1);
            return Ok(counters);
        }
        Err(why) => return Err(why),
    };
    let mut field = Field::prepare("memory", "attack memory", &options.common, CYCLES)?;
    field.counters.floor("killed_by_system", field.cycles);
    field.counters.floor("lapsed", field.cycles);
    field.floor_each_way(1);
    let world = World::new()?;
    let done = starve(&mut field, &world, &group);
    field.judged(&world, done)
}

/// All cycles in one group.
fn starve(field: &mut Field, world: &World, group: &Group) -> anyhow::Result<()> {
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let through = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
    let setup = Setup { through, ..field.setup("server")? };
    let mut server = world.start(&setup)?;
    world.declare(&server)?;
    for cycle in 0..field.cycles {
        let mut dice = field.dice(cycle);
        let code = world.under_load(server.doors(), MIXED, dice.split(), |load| {
            thread::sleep(Duration::from_millis(dice.within(50..=300)));
            load.server_may_die();
            outgrow(server)
        })?;
        if code == KILLED {
            field.counters.add("killed_by_system", 1);
        } else {
            field.counters.violation(&format!("cycle {cycle}: ended with {code}, not {KILLED}"));
        }
        server = world.start(&setup)?;
        world.read_latest(&server, &mut dice)?;
        field.take_harms(world, cycle)?;
        field.counters.add("cycles", 1);
        progress(&format!("{}: {} answers", cycle + 1, world.told()));
    }
    field.conclude(world, &server)?;
    server.kill()
}

/// Asks for more than there is until the server is gone; says how it ended.
fn outgrow(mut server: Server) -> anyhow::Result<i32> {
    let address = server.doors().http;
    let body = "\n".repeat(GREEDY_BYTES);
    thread::scope(|scope| {
        for _ in 0..GREEDY {
            scope.spawn(|| {
                let ask = || Connection::open(address)?.ask("POST", "/v1/batch", &body);
                // Until the connection breaks with the server.
                while ask().is_ok() {}
            });
        }
        let mut waited = Duration::ZERO;
        while !server.has_ended() && waited < PATIENCE {
            thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        if waited >= PATIENCE {
            server.kill()?;
            bail!("the server stays under its limit of {LIMIT_BYTES} bytes whatever it is asked");
        }
        server.wait()
    })
}

/// A group of processes with a limit of memory.
struct Group(PathBuf);

impl Group {
    fn make() -> anyhow::Result<Group> {
        let own = format!("duly-attack-{}", std::process::id());
        let (root, limit) = controller()?;
        let group = Group(root.join(own));
        fs::create_dir(&group.0).with_context(|| format!("cannot make {}", group.0.display()))?;
        let limit = group.0.join(limit);
        fs::write(&limit, LIMIT_BYTES.to_string())
            .with_context(|| format!("cannot write {}", limit.display()))?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with processes in it stays, and is seen among the groups.
        fs::remove_dir(&self.0).unwrap_or_default();
    }
}

/// The place of the memory controller, and what its limit is called there.
fn controller() -> anyhow::Result<(PathBuf, &'static str)> {
    let first = Path::new("/sys/fs/cgroup/memory");
    if first.join("memory.limit_in_bytes").exists() {
        return Ok((first.to_owned(), "memory.limit_in_bytes"));
    }
    let second = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(second.join("cgroup.subtree_control"));
    if controllers.is_ok_and(|list| list.split_whitespace().any(|name| name == "memory")) {
        return Ok((second.to_owned(), "memory.max"));
    }
    bail!("this system has no memory controller for groups of processes under {}", second.display())
}
