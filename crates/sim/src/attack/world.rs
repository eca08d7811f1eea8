//! What an attack keeps from its first cycle to its last: the oracle, the receiver, the histories, and
//! which deadlines there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::ask::{self, Reply};
use super::moment::{Ticks, wall_ms};
use super::name::{HOOKS, Name, QUIET, WORKERS};
use super::oracle::{Harm, Oracle};
use super::server::{Server, Setup};
use super::target::Target;
use super::way::{Line, Tally};
use super::worker::Held;
use crate::dice::Dice;
use crate::history::{Asked, History, Operation, Rules};

/// How many of the latest deadlines the clients meet at.
const RECENT: usize = 96;
/// Questions in one request when records are read.
const READ_TOGETHER: usize = 500;
/// What falls due within this is waited for at the end; the rest is hours away.
const SOON_MS: u64 = 60_000;
/// It must be acted on within this.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The lasting part of an attack.
pub(super) struct World {
    pub(super) oracle: Arc<Oracle>,
    pub(super) target: Target,
    pub(super) ticks: Ticks,
    /// Leases that workers hold, also over a restart.
    pub(super) held: Mutex<Vec<Held>>,
    /// What clients under load were answered, over each protocol.
    pub(super) tally: Tally,
    history: Mutex<History>,
    next: AtomicU64,
    recent: Mutex<VecDeque<Name>>,
    told: AtomicU64,
    set_again: AtomicU64,
    processes: AtomicU64,
}

impl World {
    /// Nothing is there yet.
    pub(super) fn new() -> anyhow::Result<World> {
        let oracle = Arc::new(Oracle::default());
        let served = Rules { served: true, ..Rules::default() };
        let rules = [HOOKS, WORKERS, QUIET].map(|queue| (queue.to_owned(), served.clone()));
        let history = History { rules: rules.into(), operations: Vec::new() };
        Ok(World {
            target: Target::start(Arc::clone(&oracle))?,
            oracle,
            ticks: Ticks::start(),
            held: Mutex::default(),
            tally: Tally::default(),
            history: Mutex::new(history),
            next: AtomicU64::new(0),
            recent: Mutex::default(),
            told: AtomicU64::new(0),
            set_again: AtomicU64::new(0),
            processes: AtomicU64::new(0),
        })
    }

    /// Starts the server. One that does not start has lost everything.
    pub(super) fn start(&self, setup: &Setup) -> anyhow::Result<Server> {
        let launched = wall_ms();
        let server = setup.start().inspect_err(|why| {
            self.oracle.found(Harm::Lost, format!("it does not start: {why:#}"));
        })?;
        self.oracle.opened(launched, wall_ms());
        Ok(server)
    }

    /// Makes the queues as this attack wants them.
    pub(super) fn declare(&self, server: &Server) -> anyhow::Result<()> {
        let mut connection = server.connect()?;
        let targets =
            [(HOOKS, self.target.policy()), (WORKERS, json!("pull")), (QUIET, json!("none"))];
        for (queue, target) in targets {
            let policy = json!({ "target": target, "retry": ["1s"], "concurrency": 32 });
            ask::granted(&mut connection, "PUT", &format!("/v1/queues/{queue}"), &policy)?;
        }
        Ok(())
    }

    /// The number of a new process: of somebody who asks one thing at a time.
    pub(super) fn new_process(&self) -> u32 {
        u32::try_from(self.processes.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// A deadline that nobody knows yet; from now on clients may meet at it.
    pub(super) fn new_name(&self) -> Name {
        let name = Name(self.next.fetch_add(1, Ordering::Relaxed));
        let mut recent = self.recent.lock().expect("nothing panics while it is held");
        recent.push_back(name);
        if recent.len() > RECENT {
            recent.pop_front();
        }
        name
    }

    /// A deadline of this queue that nobody knows yet.
    pub(super) fn new_name_in(&self, queue: &str) -> Name {
        loop {
            let name = self.new_name();
            if name.queue() == queue {
                return name;
            }
        }
    }

    /// One of the latest deadlines, sometimes an old one; none if there is none.
    pub(super) fn some_name(&self, dice: &mut Dice) -> Option<Name> {
        let known = self.next.load(Ordering::Relaxed);
        if known > 0 && dice.percent(3) {
            return Some(Name(dice.below(known)));
        }
        let recent = self.recent.lock().expect("nothing panics while it is held");
        let index = dice.below((recent.len() as u64).max(1));
        recent.get(usize::try_from(index).unwrap_or(0)).copied()
    }

    /// Asks, tells the oracle, and writes down what was asked and told. An error means that the
    /// connection broke: nobody knows what became of the questions.
    pub(super) fn ask(
        &self,
        connection: &mut dyn Line,
        process: u32,
        questions: &[(Name, Asked)],
    ) -> std::io::Result<Vec<Reply>> {
        let asked_at = self.ticks.now();
        let befores: Vec<_> = questions
            .iter()
            .map(|(name, asked)| self.oracle.asks(*name, asked, asked_at.ms))
            .collect();
        let replies = connection.answers(questions);
        let told_at = self.ticks.now();
        let mut operations = Vec::new();
        for (index, (name, asked)) in questions.iter().enumerate() {
            let reply = replies.as_ref().ok().map(|replies| &replies[index]);
            let told = reply.and_then(|reply| {
                self.told.fetch_add(1, Ordering::Relaxed);
                let is_set_again = name.is_set_again() && matches!(asked, Asked::Schedule { .. });
                self.set_again.fetch_add(u64::from(is_set_again), Ordering::Relaxed);
                self.oracle.told(*name, asked, befores[index], reply)
            });
            operations.push(Operation {
                process,
                queue: name.queue().to_owned(),
                key: name.key(),
                asked_at,
                asked: asked.clone(),
                told: told.map(|told| (told_at, told)),
            });
        }
        self.history().operations.append(&mut operations);
        replies
    }

    /// Reads these records, and holds them against what was told.
    pub(super) fn read(&self, server: &Server, names: &[Name]) -> anyhow::Result<()> {
        let mut connection = server.connect()?;
        let process = self.new_process();
        for names in names.chunks(READ_TOGETHER) {
            let questions: Vec<_> = names.iter().map(|name| (*name, Asked::Get)).collect();
            self.ask(&mut connection, process, &questions).context("reading records")?;
        }
        Ok(())
    }

    /// Reads the latest records, and some of the older ones.
    pub(super) fn read_latest(&self, server: &Server, dice: &mut Dice) -> anyhow::Result<()> {
        let known = self.next.load(Ordering::Relaxed);
        let mut names: Vec<Name> = (known.saturating_sub(400)..known).map(Name).collect();
        names.extend((0..100.min(known)).map(|_| Name(dice.below(known))));
        names.sort_unstable();
        names.dedup();
        self.read(server, &names)
    }

    /// Waits until everything that falls due soon is over, then reads every record.
    pub(super) fn conclude(&self, server: &Server) -> anyhow::Result<()> {
        let begun = Instant::now();
        let soon = wall_ms() + SOON_MS;
        loop {
            self.work_off(server)?;
            let names = self.oracle.unfinished(soon);
            if names.is_empty() {
                break;
            }
            if begun.elapsed() > PATIENCE {
                for name in names {
                    self.oracle.harm(Harm::Skipped, name, "due, and not acted on for minutes");
                }
                break;
            }
            self.read(server, &names)?;
            thread::sleep(LOOK_EVERY);
        }
        self.oracle.judge_ids();
        let all: Vec<Name> = (0..self.next.load(Ordering::Relaxed)).map(Name).collect();
        self.read(server, &all)
    }

    /// How many answers somebody was given.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// How many of these were about setting a key that is set again and again.
    pub(super) fn set_again(&self) -> u64 {
        self.set_again.load(Ordering::Relaxed)
    }

    /// Everything that was asked and told.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nothing panics while it is held")
    }
}
