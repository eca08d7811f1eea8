//! The probe of acknowledgements: every sync is made to wait, and nothing that follows from a change
//! may be seen by anybody before such a wait is over.
//!
//! A lower bound only: an answer may always take longer, so a slow machine proves as much.

use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::super::moment::wall_ms;
use super::super::name::{HOOKS, Name, QUIET, WORKERS};
use super::super::oracle::Harm;
use super::super::redis::DELETED;
use super::super::server::{Server, Setup};
use super::super::strace::{self, Calls};
use super::super::way::{Line, Way};
use super::super::worker;
use super::super::world::World;
use super::Field;
use crate::history::{Asked, By, IfExists, Told, When};

/// How long each sync waits.
const WAIT_MS: u64 = 100;
/// How often everything is asked.
const ROUNDS: u64 = 6;
/// How soon what is to lapse is due.
const SOON_MS: u64 = 60;
/// How often is asked for what is awaited, and how long at most.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const PATIENCE_MS: u64 = 30_000;

struct Probe<'a> {
    world: &'a World,
    server: &'a Server,
    connection: Box<dyn Line>,
    probed: u64,
}

/// Probes.
pub(super) fn run(field: &mut Field) -> anyhow::Result<()> {
    let setup = field.setup("probe")?;
    let through =
        strace::through(&Calls::SlowSyncs { wait_ms: WAIT_MS }, &setup.folder.join("calls.log"));
    let world = World::new()?;
    let server = Setup { through, ..setup }.start()?;
    world.declare(&server)?;
    let connection = Way::Http.open(server.doors())?;
    let mut probe = Probe { world: &world, server: &server, connection, probed: 0 };
    for round in 0..ROUNDS {
        probe.connection = Way::of_nth(round).open(server.doors())?;
        probe.changes()?;
        probe.reads()?;
        probe.leases()?;
        probe.webhooks()?;
        probe.lapses_met_by_a_settle()?;
    }
    let probed = probe.probed;
    field.counters.floor("acknowledgements_probed", ROUNDS * 12);
    field.counters.add("acknowledgements_probed", probed);
    field.take_harms(&world, 0)?;
    server.kill()
}

impl Probe<'_> {
    /// Every change is told after its sync.
    fn changes(&mut self) -> anyhow::Result<()> {
        let settle = Asked::Settle { outcome: "paid".into(), generation: None, remember_ms: None };
        let extend = Asked::Extend { by: By::LaterMs(1_000), if_due_ms: None };
        let named = [schedule(3_600_000), extend, Asked::Freeze { for_ms: 300 }, settle];
        // What a client of the Redis protocol does with a key.
        let set = Asked::Schedule {
            if_exists: IfExists::Replace,
            when: When::AfterMs(3_600_000),
            over: None,
        };
        let moved = Asked::Extend { by: By::DueMs(wall_ms() + 7_200_000), if_due_ms: None };
        let delete = Asked::Settle { outcome: DELETED.into(), generation: None, remember_ms: None };
        for questions in [named.to_vec(), vec![set, moved, delete]] {
            let name = self.world.new_name_in(QUIET);
            for asked in questions {
                let begun = wall_ms();
                self.ask(name, &asked)?;
                self.not_before(name, &format!("{asked:?}"), begun, wall_ms());
            }
        }
        Ok(())
    }

    /// A read that shows what was just written is told after the sync of that.
    fn reads(&mut self) -> anyhow::Result<()> {
        let (name, world, server) = (self.world.new_name_in(QUIET), self.world, self.server);
        let begun = wall_ms();
        let seen = thread::scope(|scope| {
            let writer = scope.spawn(move || -> anyhow::Result<()> {
                let mut connection = server.connect()?;
                let question = [(name, schedule(3_600_000))];
                world.ask(&mut connection, world.new_process(), &question)?;
                Ok(())
            });
            let seen = self.until(begun, |probe| {
                let answer = probe.ask(name, &Asked::Get)?;
                Ok(answer
                    .is_some_and(|told| matches!(told, Told::Record(_) | Told::Pending { .. })))
            });
            writer.join().expect("a writer does not panic")?;
            seen
        })?;
        self.not_before(name, "a read of what was just written", begun, seen);
        Ok(())
    }

    /// A worker gets a lapse after the sync of that, and is told so after the sync of its verdict.
    fn leases(&mut self) -> anyhow::Result<()> {
        let (name, due) = self.due_soon(WORKERS)?;
        worker::take(self.world, self.connection.as_mut(), "20s")?;
        self.not_before(name, "a lease", due, wall_ms());
        let begun = wall_ms();
        let given = worker::give_all(self.world, self.connection.as_mut())?;
        anyhow::ensure!(given > 0, "nothing was leased within seconds");
        self.not_before(name, "a verdict", begun, wall_ms());
        Ok(())
    }

    /// A webhook is called after the sync of its lapse.
    fn webhooks(&mut self) -> anyhow::Result<()> {
        let (name, due) = self.due_soon(HOOKS)?;
        let world = self.world;
        self.until(due, |_| Ok(world.target.arrived(name).is_some()))?;
        let arrived = world.target.arrived(name).context("it has arrived")?;
        self.not_before(name, "a webhook", due, arrived);
        Ok(())
    }

    /// Whoever is told that it is too late is told after the sync of the lapse.
    fn lapses_met_by_a_settle(&mut self) -> anyhow::Result<()> {
        let (name, due) = self.due_soon(QUIET)?;
        let settle = Asked::Settle { outcome: "paid".into(), generation: None, remember_ms: None };
        self.until(due, |_| Ok(wall_ms() > due))?;
        self.ask(name, &settle)?;
        self.not_before(name, "that it is too late", due, wall_ms());
        Ok(())
    }

    /// A deadline that is scheduled and due after that.
    fn due_soon(&mut self, queue: &str) -> anyhow::Result<(Name, u64)> {
        let name = self.world.new_name_in(queue);
        let asked = schedule(WAIT_MS + SOON_MS);
        let Asked::Schedule { when: When::DueMs(due), .. } = asked else {
            unreachable!("it is due then")
        };
        self.ask(name, &asked)?;
        // Should the answer have taken longer, the lapse was durable no sooner all the same.
        Ok((name, due))
    }

    fn ask(&mut self, name: Name, asked: &Asked) -> anyhow::Result<Option<Told>> {
        let process = self.world.new_process();
        self.world.ask(self.connection.as_mut(), process, &[(name, asked.clone())])?;
        let history = self.world.history();
        Ok(history.operations.last().and_then(|last| Some(last.told.as_ref()?.1.clone())))
    }

    /// Waits for this; when it was so.
    fn until(
        &mut self,
        begun: u64,
        mut is_so: impl FnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<u64> {
        while !is_so(self)? {
            anyhow::ensure!(wall_ms() < begun + PATIENCE_MS, "what was awaited never came");
            thread::sleep(LOOK_EVERY);
        }
        Ok(wall_ms())
    }

    /// Something was seen that follows from a sync begun no sooner than then.
    fn not_before(&mut self, name: Name, what: &str, begun: u64, seen: u64) {
        self.probed += 1;
        // Both were rounded down to the millisecond.
        if seen + 1 < begun + WAIT_MS {
            let why =
                format!("{what} was seen {} ms after, each sync takes {WAIT_MS}", seen - begun);
            self.world.oracle.harm(Harm::Early, name, &why);
        }
    }
}

fn schedule(delay: u64) -> Asked {
    Asked::Schedule { if_exists: IfExists::Keep, when: When::DueMs(wall_ms() + delay), over: None }
}
