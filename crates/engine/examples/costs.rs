//! Measures what the engine takes for each command, without any disk, thread or socket.
//!
//! `cargo run --release --example costs [PENDING]…` prints, for each kind of work, the nanoseconds for
//! one command while so many deadlines are pending: the best of some rounds, since a round that was
//! interrupted says nothing about the engine. It is a yardstick for people: it asserts that the
//! engine did what it was asked, and nothing about time.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock, the engine does not")]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::time::{Duration, Instant};

use duly_engine::answer::{Answer, Known, Leased};
use duly_engine::clock::Reading;
use duly_engine::command::{Address, Command, IfExists, Schedule, Settle, Show, Verdict, When};
use duly_engine::deadline::{Payload, PayloadKind};
use duly_engine::id::{DirectoryId, Key, Outcome, QueueName};
use duly_engine::limits::Limits;
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Storage};

const START_MS: u64 = 1_750_000_000_000;
/// Commands in one step.
const STEP: usize = 512;
/// Commands in one round, and rounds.
const COUNT: usize = 50_000;
const ROUNDS: usize = 7;
/// Deliveries in one lease.
const LEASED: usize = 100;
/// Evicted in one step.
const EVICTIONS: usize = 4_096;

const PENDING: [usize; 3] = [10_000, 100_000, 1_000_000];
const WORK: [&str; 9] =
    ["schedule", "and show nothing", "keep", "replace", "get", "settle", "lapse", "lease", "done"];

/// An engine, the time it is told, and what it has taken.
struct World {
    engine: Engine,
    elapsed_ms: u64,
    spent: Duration,
    facts: usize,
}

impl World {
    fn new() -> World {
        let limits = Limits { max_deadlines: usize::MAX, ..Limits::default() };
        let engine = Engine::new(DirectoryId(7), [1, 2], limits);
        let mut world = World { engine, elapsed_ms: 0, spent: Duration::ZERO, facts: 0 };
        world.engine.open(world.reading());
        world.finish();
        world
    }

    fn reading(&self) -> Reading {
        Reading {
            wall: Time::from_millis(START_MS + self.elapsed_ms),
            boot: Span::from_millis(self.elapsed_ms),
        }
    }

    fn finish(&mut self) {
        let step = self.engine.finish();
        self.facts += step.facts.len();
        self.engine.placed(1, 4096);
    }

    /// Carries the commands out, step by step, and measures that; what is final leaves at once.
    fn run(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut rest = commands.into_iter();
        while rest.len() > 0 {
            let begun = Instant::now();
            self.engine.begin(self.reading(), Storage::Plenty);
            let mut near = 0;
            for _ in 0..STEP.min(rest.len()) {
                if near == 0 {
                    near = self.engine.bring_near(rest.as_slice().iter());
                }
                near -= 1;
                let command = rest.next().expect("it was counted");
                answers.push(self.engine.decide(command, Known::Absent));
            }
            self.finish();
            while self.engine.evict(self.engine.last_seq(), EVICTIONS).1 {}
            self.spent += begun.elapsed();
        }
        answers
    }

    /// Lets time pass and everything due lapse, and measures that.
    fn pass(&mut self, ms: u64) {
        self.elapsed_ms += ms;
        let mut more = true;
        while more {
            let begun = Instant::now();
            self.engine.begin(self.reading(), Storage::Plenty);
            more = self.engine.due_work();
            self.finish();
            self.spent += begun.elapsed();
        }
    }

    fn spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }
}

/// What is asked, of one queue.
struct Shop {
    queue: QueueName,
    payload: Payload,
}

impl Shop {
    fn order(&self, number: usize) -> Address {
        let key = Key::new(&format!("order-{number:018}")).expect("a good key");
        Address { queue: self.queue.clone(), key }
    }

    fn schedule(&self, number: usize, after: Span, if_exists: IfExists, show: Show) -> Command {
        let payload = Some(self.payload.clone());
        let schedule = Schedule::new(self.order(number), When::After(after));
        Command::Schedule(Schedule { payload, if_exists, show, ..schedule })
    }

    fn settle(&self, number: usize) -> Command {
        let outcome = Outcome::new("paid").expect("an outcome");
        let at = self.order(number);
        Command::Settle(Settle { at, outcome, remember: None, generation: None })
    }

    fn lease(&self) -> Command {
        let (queue, span) = (self.queue.clone(), Span::from_mins(1));
        Command::Lease { queue, key: None, max: LEASED, span }
    }
}

fn done(leased: &Leased) -> Command {
    Command::Verdict { delivery: leased.id, token: leased.token, verdict: Verdict::Done }
}

/// What each kind of work takes with so many pending, for one command.
fn measure(pending: usize) -> [Duration; WORK.len()] {
    let shop = Shop {
        queue: QueueName::new("orders").expect("a good name"),
        payload: Payload { kind: PayloadKind::Json, bytes: vec![b'7'; 200].into() },
    };
    let (day, soon) = (Span::from_days(1), Span::from_secs(1));
    let mut world = World::new();
    for first in (0..pending).step_by(COUNT) {
        let some = first..pending.min(first + COUNT);
        world.run(some.map(|n| shop.schedule(n, day, IfExists::Keep, Show::Nothing)).collect());
    }
    // Neighbours in time are no neighbours in memory.
    let any = |n: usize| n.wrapping_mul(7_919_993) % pending;
    let mut fresh = pending..;
    let mut best = [Duration::MAX; WORK.len()];
    for _ in 0..ROUNDS {
        let mut figures = Vec::new();
        world.spent();
        let mut run = |commands: Vec<Command>, is_right: fn(&Answer) -> bool| {
            let count = commands.len();
            let answers = world.run(commands);
            assert!(answers.iter().all(is_right), "it was not done");
            figures.push(world.spent() / u32::try_from(count).expect("they are few"));
            answers
        };
        let keep = IfExists::Keep;
        let numbers: Vec<usize> = fresh.by_ref().take(2 * COUNT).collect();
        let (shown, unshown) = numbers.split_at(COUNT);
        run(
            shown.iter().map(|n| shop.schedule(*n, soon, keep, Show::Record)).collect(),
            |answer| matches!(answer, Answer::Scheduled { created: true, .. }),
        );
        run(
            unshown.iter().map(|n| shop.schedule(*n, day, keep, Show::Nothing)).collect(),
            |answer| matches!(answer, Answer::Begun),
        );
        run(
            (0..COUNT).map(|n| shop.schedule(any(n), day, keep, Show::Record)).collect(),
            |answer| matches!(answer, Answer::Scheduled { created: false, .. }),
        );
        let replace = IfExists::Replace;
        run(
            (0..COUNT).map(|n| shop.schedule(any(n), day, replace, Show::Nothing)).collect(),
            |answer| matches!(answer, Answer::Begun),
        );
        run((0..COUNT).map(|n| Command::Get(shop.order(any(n)))).collect(), |answer| {
            matches!(answer, Answer::Deadline(_))
        });
        run(unshown.iter().map(|n| shop.settle(*n)).collect(), |answer| {
            matches!(answer, Answer::Settled { .. })
        });
        world.pass(1_000);
        figures.push(world.spent() / u32::try_from(COUNT).expect("they are few"));
        let answers = world.run((0..COUNT.div_ceil(LEASED)).map(|_| shop.lease()).collect());
        figures.push(world.spent() / u32::try_from(COUNT).expect("they are few"));
        let leased = answers.iter().flat_map(|answer| match answer {
            Answer::Leased(leased) => leased.as_slice(),
            other => panic!("a lease was answered with {other:?}"),
        });
        let verdicts: Vec<Command> = leased.map(done).collect();
        assert_eq!(verdicts.len(), COUNT, "all that lapsed is leased");
        let answers = world.run(verdicts);
        assert!(answers.iter().all(|answer| matches!(answer, Answer::VerdictTaken(_))));
        figures.push(world.spent() / u32::try_from(COUNT).expect("they are few"));
        for (best, figure) in best.iter_mut().zip(figures) {
            *best = (*best).min(figure);
        }
    }
    best
}

fn main() {
    let asked = std::env::args().skip(1).map(|word| word.parse().expect("a number of deadlines"));
    let mut asked: Vec<usize> = asked.collect();
    if asked.is_empty() {
        asked = PENDING.to_vec();
    }
    let columns: Vec<_> = asked.iter().map(|pending| measure(*pending)).collect();
    print!("{:18}", "ns");
    for pending in &asked {
        print!("{pending:>12}");
    }
    println!(" pending");
    for (row, name) in WORK.iter().enumerate() {
        print!("{name:18}");
        for column in &columns {
            print!("{:>12}", column[row].as_nanos());
        }
        println!();
    }
}
