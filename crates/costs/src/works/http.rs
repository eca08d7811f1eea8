//! HTTP: bodies and lines of batches become commands, answers become lines of JSON. Everything
//! between the socket and the body is somebody else's library.

use std::io::Write;

use duly::listen::http::reading::{self, Call};
use duly::listen::http::write_answer;
use duly_engine::answer::Answer;
use duly_engine::command::Show;
use duly_engine::deadline::PayloadAt;
use duly_engine::id::{DeadlineId, DeliveryId, DirectoryId, Generation};

use super::{Named, Work};
use crate::shop::{Shop, far};

const SLICE: usize = 1_000;

pub(super) const WORKS: [Named; 3] = [
    named("http/read a schedule", || Box::new(Calls::begin(Part::Body))),
    named("http/read a line of a batch", || Box::new(Calls::begin(Part::Batch))),
    named("http/write a record", || Box::new(Calls::begin(Part::Answer))),
];

const fn named(name: &'static str, begin: fn() -> Box<dyn Work>) -> Named {
    Named { name, slice: SLICE, begin }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Body,
    Batch,
    Answer,
}

struct Calls {
    part: Part,
    shop: Shop,
    many: usize,
    bytes: Vec<u8>,
    answers: Vec<Answer>,
    out: Vec<u8>,
    taken: usize,
}

const BODY: &str = r#"{"after":"30m","payload":{"order":42,"total":"19.90","items":[1,2,3]}}"#;

impl Calls {
    fn begin(part: Part) -> Calls {
        let (shop, out) = (Shop::new(), Vec::new());
        Calls { part, shop, many: 0, bytes: Vec::new(), answers: Vec::new(), out, taken: 0 }
    }

    /// Answers of schedules that show the record, its payload fetched.
    fn answered(&self) -> Vec<Answer> {
        let schedule = |number| self.shop.schedule(number, far(number), Show::Record);
        let mut answers = self.shop.open(0).run((0..self.many).map(schedule).collect());
        for answer in &mut answers {
            if let Answer::Scheduled { deadline, .. } = answer {
                deadline.payload = PayloadAt::Here(self.shop.payload.clone());
            }
        }
        answers
    }
}

impl Work for Calls {
    fn prepare(&mut self, many: usize) {
        self.many = many;
        self.taken = 0;
        self.bytes = BODY.into();
        self.out = Vec::new();
        if self.part == Part::Batch {
            self.bytes.clear();
            for number in 0..many {
                let rest = &BODY[1..];
                let key = format!("order-{number:018}");
                writeln!(self.bytes, r#"{{"op":"schedule","queue":"orders","key":"{key}",{rest}"#)
                    .expect("memory takes it");
            }
        }
        if self.part == Part::Answer {
            self.answers = self.answered();
        }
    }

    fn run(&mut self) {
        match self.part {
            Part::Body => {
                let at = self.shop.order(1);
                let id = DeliveryId {
                    directory: DirectoryId(7),
                    deadline: DeadlineId(1),
                    generation: Generation::FIRST,
                };
                let read = |_: &usize| reading::body(Call::Schedule, &at, id, &self.bytes).is_ok();
                self.taken = (0..self.many).filter(read).count();
            }
            Part::Batch => {
                let lines = reading::batch(&self.bytes).unwrap_or_default();
                self.taken = lines.iter().filter(|line| line.is_ok()).count();
            }
            Part::Answer => {
                for answer in self.answers.drain(..) {
                    write_answer(&mut self.out, answer, false);
                    self.taken += 1;
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.taken, self.many, "not all was taken");
        let lines = self.out.split(|byte| *byte == b'\n').count() - 1;
        assert!(self.part != Part::Answer || lines == self.many, "not all was written");
    }
}
