//! Steps stay within what a segment can hold, and segments stay as long as anybody needs them,
//! whatever comes at once.

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Command, IfExists, Settle, Verdict};
use duly_engine::id::{Outcome, QueueName};
use duly_engine::time::Span;

use super::super::can_step;
use super::{World, at, payload_of, schedule, settle, told};

const HOUR: Span = Span::from_hours(1);

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("k{number}"))
}

#[test]
fn commands_that_waited_for_one_look_up_fit_their_steps() {
    let mut world = World::new();
    let first = schedule("k", HOUR, 10, IfExists::Keep);
    world.answers(vec![first, settle("k")]);
    // It is in the archive alone by now; every one of these waits for the same look-up.
    let all = (0..64).map(|_| schedule("k", HOUR, 60_000, IfExists::Replace)).collect();
    let answers = world.answers(all);
    let created =
        answers.iter().filter(|answer| matches!(answer, Answer::Scheduled { created: true, .. }));
    assert_eq!(created.count(), 64);
    let last = world.get("k").expect("it is there");
    assert_eq!(last.generation.0, 65);
}

#[test]
fn look_ups_that_come_back_together_fit_their_steps() {
    let mut world = World::new();
    let once = keys(64).flat_map(|key| [schedule(&key, HOUR, 10, IfExists::Keep), settle(&key)]);
    world.answers(once.collect());
    let again = keys(64).map(|key| schedule(&key, HOUR, 60_000, IfExists::Renew)).collect();
    world.answers(again);
    for key in keys(64) {
        assert_eq!(world.get(&key).expect("it is there").generation.0, 2, "{key}");
    }
}

#[test]
fn workers_that_waited_together_fit_their_steps() {
    let mut world = World::new();
    for hundred in 0..200 {
        let some = (0..200).map(|number| {
            schedule(&format!("k{hundred}-{number}"), Span::from_secs(1), 10, IfExists::Keep)
        });
        world.answers(some.collect());
    }
    let workers: Vec<_> = (0..40).map(|_| world.lease("orders", 1_000)).collect();
    let pause = |lapses| Command::Pause {
        queue: QueueName::new("orders").expect("a good name"),
        deliveries: Some(lapses),
        lapses: None,
    };
    world.answers(vec![pause(true)]);
    world.pass(Span::from_secs(1));
    world.settle_down();
    world.answers(vec![pause(false)]);
    let leased: usize = workers
        .into_iter()
        .map(|mut worker| match told(&mut worker).expect("there is enough for all").remove(0) {
            Answer::Leased(deliveries) => deliveries.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(leased, 40_000);
}

#[test]
fn a_worker_whose_time_is_over_gets_nothing_or_what_was_just_handed_out() {
    let mut world = World::new();
    world.answers(vec![schedule("k", Span::from_secs(1), 10, IfExists::Keep)]);
    let (mut early, first) = (world.lease("orders", 1), world.up().waits);
    let (mut late, second) = (world.lease("orders", 1), world.up().waits);
    world.settle_down();
    world.leave("orders", first);
    world.pass(Span::from_secs(1));
    world.step();
    // Served by now, though nobody has been told: leaving comes too late to lose anything.
    world.leave("orders", second);
    world.settle_down();
    let deliveries = |told: Option<Vec<Answer>>| match told.and_then(|mut all| all.pop()) {
        Some(Answer::Leased(deliveries)) => deliveries.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(deliveries(told(&mut early)), 0);
    assert_eq!(deliveries(told(&mut late)), 1);
}

#[test]
fn records_with_long_stories_are_stated_anew_over_several_steps() {
    let mut world = World::new();
    world.answers(
        keys(300).map(|key| schedule(&key, Span::from_secs(1), 10, IfExists::Keep)).collect(),
    );
    for round in 0..20 {
        world.pass(HOUR);
        let mut leased = world.lease("orders", 1_000);
        world.settle_down();
        let Answer::Leased(deliveries) = told(&mut leased).expect("they wait").remove(0) else {
            panic!("a lease was refused");
        };
        assert_eq!(deliveries.len(), 300, "in round {round}");
        let verdicts = deliveries.into_iter().map(|delivery| Command::Verdict {
            delivery: delivery.id,
            token: delivery.token,
            verdict: Verdict::Retry { error: "x".repeat(512).into(), after: Some(HOUR) },
        });
        world.answers(verdicts.collect());
    }
    fill(&mut world, 12);
    for key in keys(300) {
        let deadline = world.get(&key).expect("it is there");
        assert!(payload_of(&deadline).starts_with(format!("{key}:").as_bytes()), "{key}");
        assert_eq!(deadline.delivery.expect("it has lapsed").attempts, 20);
    }
}

/// Makes the journal longer by about so many segments of records that do not stay.
fn fill(world: &mut World, segments: usize) {
    for round in 0..segments * 17 {
        let key = format!("fill{round}");
        world.answers(vec![schedule(&key, HOUR, 60_000, IfExists::Keep), settle(&key)]);
    }
}

#[test]
fn a_final_record_can_be_read_in_the_step_that_frees_its_segment() {
    let mut world = World::new();
    for number in 0..60 {
        let key = format!("k{number}");
        // All but the last of these take room that nobody needs.
        let again = (0..8).map(|_| schedule(&key, HOUR, 20_000, IfExists::Replace));
        world.ask(again.chain([settle(&key)]).collect());
        world.without_archive();
    }
    let before = world.segments();
    world.archive();
    let asked: Vec<_> =
        keys(60).map(|key| (world.ask(vec![Command::Get(at(&key))]), key)).collect();
    world.settle_down();
    world.without_archive();
    assert!(world.segments() < before, "a segment has waited for the archive alone");
    for (mut asked, key) in asked {
        let Some(Answer::Deadline(deadline)) = told(&mut asked).and_then(|mut all| all.pop())
        else {
            panic!("{key} is gone");
        };
        assert!(payload_of(&deadline).starts_with(format!("{key}:").as_bytes()), "{key}");
    }
}

/// A settle that comes before its schedule: written as long as anything can be.
fn remember(number: usize) -> Command {
    Command::Settle(Settle {
        at: at(&format!("{number:0>500}")),
        outcome: Outcome::new("paid").expect("a good outcome"),
        remember: Some(HOUR),
        generation: None,
    })
}

#[test]
fn on_a_full_disk_commands_are_refused_in_their_order_and_nothing_breaks() {
    let mut world = World::new();
    world.answers(vec![schedule("k", HOUR, 10, IfExists::Keep)]);
    world.disk.set_full(true);
    let mut number = 0;
    let refused = loop {
        let some = (number..number + 100).map(remember).collect();
        number += 100;
        if let Some(Answer::Refused(refusal)) = world.answers(some).pop() {
            break refusal;
        }
        assert!(number < 100_000, "the disk is never full");
    };
    assert!(matches!(refused, Refusal::StorageFull), "{refused:?}");
    assert!(!can_step(&world.up().driver.parts.placer), "a start now would be refused");
    world.pass(Span::from_mins(20));
    world.settle_down();
    assert!(matches!(world.answers(vec![settle("k")])[0], Answer::Refused(Refusal::StorageFull)));
    assert!(world.get("k").is_some(), "reading goes on");
    world.disk.set_full(false);
    world.allocate();
    assert!(matches!(world.answers(vec![settle("k")])[0], Answer::Settled { .. }));
}

#[test]
fn a_full_disk_is_cleaned_before_the_journal_is_long() {
    let mut world = World::new();
    world.disk.set_full(true);
    let mut low = 0;
    // Four times what the disk has room for; hardly anything of it is live.
    for number in 0..500 {
        let key = format!("k{number}");
        let asked = vec![schedule(&key, HOUR, 60_000, IfExists::Keep), settle(&key)];
        let answers = world.answers(asked);
        low += usize::from(matches!(answers[0], Answer::Refused(Refusal::StorageLow)));
        world.without_archive();
    }
    assert!(low < 100, "{low} schedules of 500 were refused");
}
