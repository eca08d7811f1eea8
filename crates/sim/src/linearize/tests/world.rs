//! Histories that are right: the engine itself, asked by clients that overlap.
//!
//! The engine decides one command after another, at one time each; the clients asked a while before
//! and hear a while after, some never, and some of those who never hear were never heard. So each
//! history has an order, and the checker must find it. That it does so also says that the engine
//! does what [`super::super::key`] says a key may do.

use duly_engine::answer::{Answer, Known};
use duly_engine::clock::Reading;
use duly_engine::command::{self, Address, Command, Extend, ExtendBy, Schedule, Settle};
use duly_engine::effect::Effect;
use duly_engine::id::{DeliveryId, DirectoryId, Generation, Key, Outcome, QueueName, Token};
use duly_engine::limits::Limits;
use duly_engine::queue::{DecideAt, Policy, Target, Webhook};
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Storage};

use crate::dice::Dice;
use crate::history::{
    Asked, By, History, IfExists, Moment, Operation, Rules, Told, Verdict, When, handed, told,
};

const NOON_MS: u64 = 1_795_348_800_000;
/// Ticks between two steps.
const STEP: u64 = 10;

/// The queues: worked on by workers, served by nobody, by a receiver, and decided late.
const QUEUES: [&str; 4] = ["orders", "receipts", "calls", "carts"];

/// How a world is.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Operations, about.
    pub(super) operations: u64,
    /// Keys in each queue.
    pub(super) keys: u64,
    /// How many steps a question or an answer takes at most.
    pub(super) apart: u64,
    /// Answers lost, in a hundred.
    pub(super) lost: u64,
}

struct World {
    engine: Engine,
    dice: Dice,
    shape: Shape,
    /// The time of each step so far.
    times: Vec<u64>,
    boot: u64,
    history: History,
    /// What workers hold.
    held: Vec<(String, String, DeliveryId, Token)>,
    /// What the receiver was sent.
    sent: Vec<(DeliveryId, Token)>,
}

/// A history that has an order.
pub(super) fn history(seed: u64, shape: Shape) -> History {
    let mut world = World {
        engine: Engine::new(DirectoryId(7), [seed, 1], Limits::default()),
        dice: Dice::new(seed),
        shape,
        times: Vec::new(),
        boot: 1_000_000,
        history: History::default(),
        held: Vec::new(),
        sent: Vec::new(),
    };
    world.found_queues();
    while (world.history.operations.len() as u64) < shape.operations {
        world.step();
    }
    // Nobody knows yet when the last answers came.
    let last = world.times.last().copied().unwrap_or(NOON_MS);
    for operation in &mut world.history.operations {
        if let Some((at, _)) = &mut operation.told {
            let step = usize::try_from(at.tick / STEP).expect("steps are few");
            at.ms = world.times.get(step).copied().unwrap_or(last);
        }
    }
    world.history
}

impl World {
    fn found_queues(&mut self) {
        self.begin();
        for name in QUEUES {
            let (target, decide_at) = match name {
                "receipts" => (Target::None, DecideAt::Due),
                "calls" => (Target::Webhook(webhook()), DecideAt::Due),
                "carts" => (Target::Pull, DecideAt::Handout),
                _ => (Target::Pull, DecideAt::Due),
            };
            let policy = Policy {
                target,
                decide_at,
                default_delay: Some(Span::from_secs(3)),
                retry: vec![Span::from_secs(1)],
                retry_for: Span::from_secs(10),
                ..Policy::default()
            };
            let queue = QueueName::new(name).expect("it is a name");
            let command = Command::PutQueue { queue, policy: Box::new(policy), declared: None };
            assert!(matches!(self.engine.decide(command, Known::Unasked), Answer::Queue(_)));
            let served = matches!(name, "receipts" | "calls");
            self.history.rules.insert(name.to_owned(), Rules { served, ..Rules::default() });
        }
        self.finish();
    }

    fn begin(&mut self) {
        let passed = match self.dice.below(4) {
            0 => 0,
            1 => self.dice.below(10),
            _ => self.dice.below(800),
        };
        self.boot += passed;
        let now = self.times.last().copied().unwrap_or(NOON_MS) + passed;
        self.times.push(now);
        let reading = Reading { wall: Time::from_millis(now), boot: Span::from_millis(self.boot) };
        self.engine.begin(reading, Storage::Plenty);
        if self.dice.percent(70) {
            self.engine.due_work();
        }
    }

    fn finish(&mut self) {
        self.engine.hand_out();
        let step = self.engine.finish();
        self.engine.placed(0, 0);
        for effect in step.effects {
            if let Effect::Attempt { deliveries, .. } = effect {
                for leased in deliveries {
                    self.sent.push((leased.id, leased.token));
                    // A receiver cannot know when the server sent it off.
                    let (queue, key) = (leased.queue.to_string(), leased.key.to_string());
                    let began = self.scheduled(&queue, &key);
                    let Told::Handed { token: _, id, generation, due_ms, lapsed_ms, attempt } =
                        handed(&leased)
                    else {
                        continue;
                    };
                    let told =
                        Told::Handed { id, generation, due_ms, lapsed_ms, attempt, token: None };
                    self.note(queue, key, Asked::Lease, Some(told), Some(began));
                }
            }
        }
    }

    /// When a key was asked to be scheduled last.
    fn scheduled(&self, queue: &str, key: &str) -> Moment {
        let of_it = |operation: &&Operation| {
            let schedules = matches!(operation.asked, Asked::Schedule { .. });
            schedules && operation.queue == queue && operation.key == key
        };
        let last = self.history.operations.iter().rev().find(of_it);
        last.expect("only what was scheduled lapses").asked_at
    }

    /// One step: some commands, or none.
    fn step(&mut self) {
        self.begin();
        for _ in 0..self.dice.below(4) {
            match self.dice.below(12) {
                0 => self.lease(),
                1 => self.judge_held(),
                2 => self.judge_sent(),
                _ => self.ask(),
            }
        }
        self.finish();
    }

    fn decide(&mut self, command: Command) -> Answer {
        match self.engine.decide(command.clone(), Known::Unasked) {
            Answer::LookUp(_) => self.engine.decide(command, Known::Absent),
            answer => answer,
        }
    }

    /// Writes down an operation of this step.
    fn note(
        &mut self,
        queue: String,
        key: String,
        asked: Asked,
        told: Option<Told>,
        began: Option<Moment>,
    ) {
        let now = self.times.len() as u64 - 1;
        let before = now - self.dice.below(self.shape.apart + 1).min(now);
        let asked_at = began.unwrap_or_else(|| self.moment(before, 1));
        let after = now + self.dice.below(self.shape.apart + 1);
        // When that is, nobody knows before the end.
        let told_at = Moment { tick: after * STEP + 5 + self.dice.below(5), ms: 0 };
        let told = told.map(|told| (told_at, told));
        let process = u32::try_from(self.history.operations.len() % 8).expect("it is small");
        self.history.operations.push(Operation { process, queue, key, asked_at, asked, told });
    }

    fn moment(&mut self, step: u64, offset: u64) -> Moment {
        let ms = self.times[usize::try_from(step).expect("steps are few")];
        Moment { tick: step * STEP + offset + self.dice.below(4), ms }
    }

    fn lease(&mut self) {
        let queue = if self.dice.percent(60) { "orders" } else { "carts" };
        let name = QueueName::new(queue).expect("it is a name");
        let max = 1 + self.dice.index(3);
        let span = Span::from_millis(1_000 + self.dice.below(4_000));
        let Answer::Leased(deliveries) =
            self.decide(Command::Lease { queue: name, key: None, max, span })
        else {
            return;
        };
        if self.dice.percent(self.shape.lost) {
            return;
        }
        for leased in deliveries {
            let key = leased.key.to_string();
            self.held.push((queue.to_owned(), key.clone(), leased.id, leased.token));
            self.note(queue.to_owned(), key, Asked::Lease, Some(handed(&leased)), None);
        }
    }

    fn judge_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.dice.index(self.held.len());
        let (queue, key, delivery, token) = self.held[index].clone();
        if self.dice.percent(60) {
            self.held.swap_remove(index);
        }
        let verdict = self.verdict();
        let asked = Asked::Verdict { generation: delivery.generation.0, token: token.0, verdict };
        let command = Command::Verdict { delivery, token, verdict: in_words(verdict) };
        self.ask_this(queue, key, asked, command);
    }

    /// The server's own deliverer comes back; no client sees it.
    fn judge_sent(&mut self) {
        if let Some((delivery, token)) = self.sent.pop() {
            let verdict = self.verdict();
            self.decide(Command::Verdict { delivery, token, verdict: in_words(verdict) });
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.dice.below(5) {
            0 | 1 => Verdict::Done,
            2 => Verdict::Superseded,
            3 => Verdict::Retry,
            _ => Verdict::Dead,
        }
    }

    fn ask(&mut self) {
        let queue = QUEUES[self.dice.index(QUEUES.len())].to_owned();
        let key = self.dice.below(self.shape.keys).to_string();
        let at = Address {
            queue: QueueName::new(&queue).expect("it is a name"),
            key: Key::new(&key).expect("it is a key"),
        };
        let (asked, command) = self.question(at);
        self.ask_this(queue, key, asked, command);
    }

    fn ask_this(&mut self, queue: String, key: String, asked: Asked, command: Command) {
        let lost = self.dice.percent(self.shape.lost);
        let answer = if lost && self.dice.percent(40) {
            None
        } else {
            let answer = self.decide(command);
            Some(told(&answer).expect("it is about a deadline")).filter(|_| !lost)
        };
        self.note(queue, key, asked, answer, None);
    }

    fn question(&mut self, at: Address) -> (Asked, Command) {
        let outcome = if self.dice.percent(70) { "paid" } else { "cancelled" };
        let later = self.dice.below(5_000);
        match self.dice.below(16) {
            0..=5 => self.schedule(at, later),
            6..=8 => {
                let remember_ms = self.dice.percent(20).then_some(later);
                let generation = self.dice.percent(30).then(|| 1 + self.below_u32(3));
                let settle = Settle {
                    at,
                    outcome: Outcome::new(outcome).expect("it is an outcome"),
                    remember: remember_ms.map(Span::from_millis),
                    generation: generation.map(Generation),
                };
                let asked = Asked::Settle { outcome: outcome.to_owned(), generation, remember_ms };
                (asked, Command::Settle(settle))
            }
            9 => {
                let (far, by) = match self.dice.below(3) {
                    0 => (By::LaterMs(later), ExtendBy::Span(Span::from_millis(later))),
                    1 => (By::AfterMs(later), ExtendBy::After(Span::from_millis(later))),
                    _ => {
                        let due = self.now() + later;
                        (By::DueMs(due), ExtendBy::Due(Time::from_millis(due)))
                    }
                };
                let asked = Asked::Extend { by: far, if_due_ms: None };
                (asked, Command::Extend(Extend { at, by, if_due: None }))
            }
            10 => {
                let for_ms = if self.dice.percent(30) { 0 } else { later };
                (Asked::Freeze { for_ms }, Command::Freeze { at, span: Span::from_millis(for_ms) })
            }
            11 => (Asked::Erase, Command::Erase(at)),
            12 => (Asked::Revive, Command::Revive(at)),
            _ => (Asked::Get, Command::Get(at)),
        }
    }

    fn schedule(&mut self, at: Address, later: u64) -> (Asked, Command) {
        let due = self.now() + later;
        let (when, written) = match self.dice.below(5) {
            0 => (When::Default, command::When::Default),
            1 => (When::DueMs(due), command::When::Due(Time::from_millis(due))),
            _ => (When::AfterMs(later), command::When::After(Span::from_millis(later))),
        };
        let (if_exists, word) = match self.dice.below(5) {
            0 | 1 => (IfExists::Keep, command::IfExists::Keep),
            2 => (IfExists::Replace, command::IfExists::Replace),
            3 => (IfExists::Renew, command::IfExists::Renew),
            _ => (IfExists::Fail, command::IfExists::Fail),
        };
        let over = self.dice.percent(12).then(|| 1 + self.below_u32(3));
        let schedule =
            Schedule { if_exists: word, over: over.map(Generation), ..Schedule::new(at, written) };
        (Asked::Schedule { if_exists, when, over }, Command::Schedule(schedule))
    }

    fn now(&self) -> u64 {
        self.times.last().copied().unwrap_or(NOON_MS)
    }

    fn below_u32(&mut self, end: u64) -> u32 {
        u32::try_from(self.dice.below(end)).expect("it is small")
    }
}

fn webhook() -> Webhook {
    Webhook {
        url: "https://shop.example/lapsed".to_owned(),
        secrets: Vec::new(),
        batch: 1,
        timeout: Span::from_secs(1),
    }
}

fn in_words(verdict: Verdict) -> command::Verdict {
    match verdict {
        Verdict::Done => command::Verdict::Done,
        Verdict::Superseded => command::Verdict::Superseded,
        Verdict::Retry => command::Verdict::Retry { error: "again".into(), after: None },
        Verdict::Dead => command::Verdict::Dead { error: "never".into() },
    }
}
