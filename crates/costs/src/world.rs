//! An engine without a journal and without threads, and the time that it is told.
//!
//! It steps the engine as the driver does: a bounded number of commands, or a slice of what is due.
//! Each step is over when its facts have a place and what is final has left. It keeps how long the
//! longest step was in processor time, so that what others do on the machine does not matter.

use std::time::Duration;

use duly_engine::answer::{Answer, Known};
use duly_engine::clock::Reading;
use duly_engine::command::Command;
use duly_engine::id::DirectoryId;
use duly_engine::limits::Limits;
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Storage};
use nix::time::{ClockId, clock_gettime};

/// When it begins.
const START_MS: u64 = 1_750_000_000_000;

/// Commands in one step, and facts after which no other command is taken up: more than that come
/// together only behind a slow disk.
const STEP: usize = 512;

/// Final records that leave together, as in the driver.
const EVICTIONS: usize = 4_096;

/// An engine and its time.
pub(crate) struct World {
    engine: Engine,
    elapsed: Span,
    longest: Duration,
}

impl World {
    pub(crate) fn new() -> World {
        let limits = Limits { max_deadlines: usize::MAX, ..Limits::default() };
        let engine = Engine::new(DirectoryId(7), [1, 2], limits);
        let mut world = World { engine, elapsed: Span::ZERO, longest: Duration::ZERO };
        let reading = world.reading();
        world.step(|engine| engine.open(reading));
        world
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Time {
        Time::from_millis(START_MS).plus(self.elapsed)
    }

    fn reading(&self) -> Reading {
        Reading { wall: self.now(), boot: self.elapsed }
    }

    /// One step, and how long it took. Gives its facts as bytes.
    fn step<T>(&mut self, work: impl FnOnce(&mut Engine) -> T) -> (T, Vec<u8>) {
        let begun = processor_time();
        let done = work(&mut self.engine);
        let facts = self.engine.finish().facts;
        self.engine.placed(1, 4096);
        while self.engine.evict(self.engine.last_seq(), EVICTIONS).1 {}
        self.longest = self.longest.max(processor_time().saturating_sub(begun));
        (done, facts)
    }

    /// Carries the commands out, step by step.
    pub(crate) fn run(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut rest = commands.into_iter();
        while rest.len() > 0 {
            let reading = self.reading();
            self.step(|engine| {
                engine.begin(reading, Storage::Plenty);
                let mut near = 0;
                for _ in 0..STEP.min(rest.len()) {
                    if engine.step_count() as usize >= STEP {
                        break;
                    }
                    if near == 0 {
                        near = engine.bring_near(rest.as_slice().iter());
                    }
                    near -= 1;
                    let command = rest.next().expect("it was counted");
                    answers.push(engine.decide(command, Known::Absent));
                }
            });
        }
        answers
    }

    /// Carries the commands out in one step, and gives its facts.
    pub(crate) fn facts(&mut self, commands: Vec<Command>) -> (Vec<Answer>, Vec<u8>) {
        let reading = self.reading();
        self.step(|engine| {
            engine.begin(reading, Storage::Plenty);
            let decided = commands.into_iter().map(|it| engine.decide(it, Known::Absent));
            decided.collect()
        })
    }

    /// Lets time pass, from one wake-up to the next, and everything lapse that is due by then.
    pub(crate) fn pass(&mut self, span: Span) {
        let end = self.now().plus(span);
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake <= end) {
            self.elapsed = self.elapsed.max(wake.since(Time::from_millis(START_MS)));
            let reading = self.reading();
            self.step(|engine| {
                engine.begin(reading, Storage::Plenty);
                engine.due_work()
            });
        }
        self.elapsed = end.since(Time::from_millis(START_MS));
    }

    /// How long the longest step was since this was asked last, in processor time.
    pub(crate) fn longest_step(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }
}

/// What this thread has taken of a processor.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("every thread has this clock").into()
}
