//! The record that opens a segment has a bound, whatever is asked.

use duly_engine::answer::{Answer, Known, Refusal};
use duly_engine::clock::Reading;
use duly_engine::command::{Address, Command, Schedule, Settle, When};
use duly_engine::id::{Key, Outcome, QueueName};
use duly_engine::limits::{Limits, OUTCOMES_BYTES};
use duly_engine::queue::{Policy, Target, Webhook};
use duly_engine::time::Span;
use duly_engine::{Engine, Replayed, Storage};

use crate::world::{DIRECTORY, NOON};

const ROOM: usize = 64 << 10;

fn engine() -> Engine {
    let limits = Limits { queues_bytes: ROOM, ..Limits::default() };
    let mut engine = Engine::new(DIRECTORY, [1, 2], limits);
    engine.begin(Reading { wall: NOON, boot: Span::from_millis(NOON.millis()) }, Storage::Plenty);
    engine
}

fn queue(number: usize) -> QueueName {
    QueueName::new(&format!("q{number}")).expect("a good name")
}

fn put(engine: &mut Engine, number: usize, url_bytes: usize) -> Answer {
    let url = "h".repeat(url_bytes);
    let timeout = Span::from_secs(15);
    let target = Target::Webhook(Webhook { url, secrets: Vec::new(), batch: 1, timeout });
    let policy = Box::new(Policy { target, ..Policy::default() });
    engine.decide(Command::PutQueue { queue: queue(number), policy, declared: None }, Known::Absent)
}

fn settle_as(engine: &mut Engine, number: usize, label: &str) {
    let at = Address { queue: queue(number), key: Key::new(label).expect("a good key") };
    let schedule = Schedule::new(at.clone(), When::After(Span::from_hours(1)));
    let outcome = Outcome::new(label).expect("a good outcome");
    let settle = Settle { at, outcome, remember: None, generation: None };
    engine.decide(Command::Schedule(schedule), Known::Absent);
    let answer = engine.decide(Command::Settle(settle), Known::Absent);
    assert!(matches!(answer, Answer::Settled { .. }), "{answer:?}");
}

#[test]
fn queues_are_refused_when_their_policies_take_all_the_room() {
    let mut engine = engine();
    let many = (0..1_000)
        .take_while(|number| matches!(put(&mut engine, *number, 2_000), Answer::Queue(_)))
        .count();
    assert!((20..32).contains(&many), "{many} queues");
    let refused = Answer::Refused(Refusal::TooManyQueues);
    assert_eq!(put(&mut engine, many, 2_000), refused);
    assert_eq!(put(&mut engine, 0, 6_000), refused, "nor may one grow");
    assert!(matches!(put(&mut engine, 0, 10), Answer::Queue(_)), "it may shrink");
    assert!(matches!(put(&mut engine, many, 1_000), Answer::Queue(_)), "which makes room");
    engine.decide(Command::DeleteQueue(queue(1)), Known::Absent);
    assert!(matches!(put(&mut engine, 1, 2_000), Answer::Queue(_)), "as deleting does");
    engine.finish();
    let base = engine.base();
    assert!(base.facts.len() <= ROOM, "a base of {} bytes", base.facts.len());
}

#[test]
fn outcomes_beyond_their_room_are_counted_together_and_a_replay_counts_the_same() {
    let mut engine = engine();
    for number in 0..100 {
        assert!(matches!(put(&mut engine, number, 1), Answer::Queue(_)));
        for label in 0..64 {
            settle_as(&mut engine, number, &format!("{label:0>64}"));
        }
    }
    let step = engine.finish();
    let base = engine.base();
    assert!(base.facts.len() > OUTCOMES_BYTES / 2, "there were outcomes enough to fill it");
    assert!(base.facts.len() <= ROOM + OUTCOMES_BYTES, "a base of {} bytes", base.facts.len());

    let mut again = Engine::new(DIRECTORY, [1, 2], Limits::default());
    for (offset, step) in [(0, &step), (1, &base)] {
        let replayed = Replayed {
            segment: 1,
            facts_offset: offset,
            first_seq: step.first_seq,
            at: step.at,
            facts: &step.facts,
        };
        again.replay(replayed).expect("what was written can be read");
        assert_eq!(again.base().facts, base.facts, "a replay up to here knows the same");
    }
}
