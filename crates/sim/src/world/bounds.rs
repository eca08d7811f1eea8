//! Steps stay within what a segment can hold, and segments stay as long as anybody needs them,
//! whatever comes at once.

use duly::driver::can_step;
use duly::driver::open::StoreSettings;
use duly_engine::Storage;
use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Address, Command, IfExists, Schedule, Settle, Verdict, When};
use duly_engine::deadline::{Deadline, Payload, PayloadAt, PayloadKind};
use duly_engine::id::{Key, Outcome, QueueName};
use duly_engine::limits::Limits;
use duly_engine::queue::{Policy, Target};
use duly_engine::time::Span;
use tokio::sync::oneshot;

use super::{Done, Duty, Reply, Settings, World};

const SMALL: StoreSettings = StoreSettings {
    segment_bytes: 1 << 20,
    reserve: 5,
    keep_bytes: 3 << 20,
    events_bytes: 1 << 20,
};
/// Facts of one step, with their header: what a step makes sure of before it begins.
const LARGEST_STEP: usize = 384 << 10;
/// More rounds than this are a loop that does not end.
const ROUNDS: usize = 10_000;
const HOUR: Span = Span::from_hours(1);

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("k{number}"))
}

#[test]
fn commands_that_waited_for_one_look_up_fit_their_steps() {
    let mut world = begun();
    let first = schedule("k", HOUR, 10, IfExists::Keep);
    answers(&mut world, vec![first, settle("k")]);
    // It is in the archive alone by now; every one of these waits for the same look-up.
    let all = (0..64).map(|_| schedule("k", HOUR, 60_000, IfExists::Replace)).collect();
    let answers = answers(&mut world, all);
    let created =
        answers.iter().filter(|answer| matches!(answer, Answer::Scheduled { created: true, .. }));
    assert_eq!(created.count(), 64);
    let last = get(&mut world, "k").expect("it is there");
    assert_eq!(last.generation.0, 65);
}

#[test]
fn look_ups_that_come_back_together_fit_their_steps() {
    let mut world = begun();
    let once = keys(64).flat_map(|key| [schedule(&key, HOUR, 10, IfExists::Keep), settle(&key)]);
    answers(&mut world, once.collect());
    let again = keys(64).map(|key| schedule(&key, HOUR, 60_000, IfExists::Renew)).collect();
    answers(&mut world, again);
    for key in keys(64) {
        assert_eq!(get(&mut world, &key).expect("it is there").generation.0, 2, "{key}");
    }
}

#[test]
fn what_counts_comes_after_what_was_asked_before_it_and_before_what_was_asked_after_it() {
    let mut world = begun();
    let first = schedule("old", HOUR, 10, IfExists::Keep);
    answers(&mut world, vec![first, settle("old")]);
    // It is in the archive alone by now: what begins it anew waits, and the rest would not have to.
    let all = vec![
        schedule("old", HOUR, 10, IfExists::Renew),
        Command::GetQueue(orders()),
        schedule("new", HOUR, 10, IfExists::Keep),
        Command::ListQueues,
        settle("old"),
        schedule("old", HOUR, 10, IfExists::Renew),
        settle("new"),
        Command::ListQueues,
    ];
    let answers = answers(&mut world, all);
    let pending = answers.iter().filter_map(|answer| match answer {
        Answer::Queue(queue) => Some(queue.now.pending),
        Answer::Queues(queues) => Some(queues.iter().map(|queue| queue.now.pending).sum()),
        _ => None,
    });
    assert_eq!(pending.collect::<Vec<u64>>(), [1, 2, 1]);
}

#[test]
fn workers_that_waited_together_fit_their_steps() {
    let mut world = begun();
    for hundred in 0..200 {
        let some = (0..200).map(|number| {
            schedule(&format!("k{hundred}-{number}"), Span::from_secs(1), 10, IfExists::Keep)
        });
        answers(&mut world, some.collect());
    }
    let workers: Vec<_> = (0..40).map(|_| lease(&mut world, 1_000)).collect();
    let pause = |lapses| Command::Pause { queue: orders(), deliveries: Some(lapses), lapses: None };
    answers(&mut world, vec![pause(true)]);
    world.clocks.pass(Span::from_secs(1));
    settle_down(&mut world);
    answers(&mut world, vec![pause(false)]);
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
    let mut world = begun();
    answers(&mut world, vec![schedule("k", Span::from_secs(1), 10, IfExists::Keep)]);
    let (first, mut early) = wait(&mut world, 1);
    let (second, mut late) = wait(&mut world, 1);
    settle_down(&mut world);
    world.leave(&orders(), first);
    world.clocks.pass(Span::from_secs(1));
    drop(world.perform(Duty::Step).expect("a step needs no disk"));
    // Served by now, though nobody has been told: leaving comes too late to lose anything.
    world.leave(&orders(), second);
    settle_down(&mut world);
    let deliveries = |told: Option<Vec<Answer>>| match told.and_then(|mut all| all.pop()) {
        Some(Answer::Leased(deliveries)) => deliveries.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(deliveries(told(&mut early)), 0);
    assert_eq!(deliveries(told(&mut late)), 1);
}

#[test]
fn a_worker_that_has_waited_goes_before_one_that_comes() {
    let mut world = begun();
    answers(&mut world, vec![schedule("k", Span::from_secs(1), 10, IfExists::Keep)]);
    let (_, mut waiting) = wait(&mut world, 1);
    settle_down(&mut world);
    world.clocks.pass(Span::from_secs(1));
    // Asked in the very step in which it lapses.
    let span = Span::from_mins(1);
    let lease = Command::Lease { queue: orders(), key: None, max: 1, span };
    let coming = answers(&mut world, vec![lease]);
    assert!(matches!(&coming[..], [Answer::Leased(none)] if none.is_empty()), "{coming:?}");
    assert!(told(&mut waiting).is_some(), "who has waited has it");
}

#[test]
fn a_worker_that_only_waits_counts_as_somebody_who_acts() {
    let mut world = begun();
    let first = schedule("k", HOUR, 10, IfExists::Keep);
    let acts = |answers: Vec<Answer>| match &answers[..] {
        [Answer::Scheduled { nobody_acts, .. }] => !nobody_acts,
        other => panic!("{other:?}"),
    };
    assert!(!acts(answers(&mut world, vec![first.clone()])), "nobody has come yet");
    let (number, _early) = wait(&mut world, 1);
    assert!(acts(answers(&mut world, vec![first.clone()])), "a worker waits");
    world.clocks.pass(Span::from_mins(9));
    world.leave(&orders(), number);
    settle_down(&mut world);
    world.clocks.pass(Span::from_mins(9));
    assert!(acts(answers(&mut world, vec![first.clone()])), "it has left nine minutes ago");
    world.clocks.pass(Span::from_mins(2));
    assert!(!acts(answers(&mut world, vec![first])), "eleven minutes ago");
}

#[test]
fn records_with_long_stories_are_stated_anew_over_several_steps() {
    let mut world = begun();
    answers(
        &mut world,
        keys(300).map(|key| schedule(&key, Span::from_secs(1), 10, IfExists::Keep)).collect(),
    );
    for round in 0..20 {
        world.clocks.pass(HOUR);
        settle_down(&mut world);
        let mut leased = lease(&mut world, 1_000);
        settle_down(&mut world);
        let Answer::Leased(deliveries) = told(&mut leased).expect("they wait").remove(0) else {
            panic!("a lease was refused");
        };
        assert_eq!(deliveries.len(), 300, "in round {round}");
        let verdicts = deliveries.into_iter().map(|delivery| Command::Verdict {
            delivery: delivery.id,
            token: delivery.token,
            verdict: Verdict::Retry { error: "x".repeat(512).into(), after: Some(HOUR) },
        });
        answers(&mut world, verdicts.collect());
    }
    fill(&mut world, 12);
    for key in keys(300) {
        let deadline = get(&mut world, &key).expect("it is there");
        assert!(payload_of(&deadline).starts_with(format!("{key}:").as_bytes()), "{key}");
        assert_eq!(deadline.delivery.expect("it has lapsed").attempts, 20);
    }
}

/// Makes the journal longer by about so many segments of records that do not stay.
fn fill(world: &mut World, segments: usize) {
    for round in 0..segments * 17 {
        let key = format!("fill{round}");
        answers(world, vec![schedule(&key, HOUR, 60_000, IfExists::Keep), settle(&key)]);
    }
}

#[test]
fn a_final_record_can_be_read_in_the_step_that_frees_its_segment() {
    let mut world = begun();
    for number in 0..60 {
        let key = format!("k{number}");
        // All but the last of these take room that nobody needs.
        let again = (0..8).map(|_| schedule(&key, HOUR, 20_000, IfExists::Replace));
        world.ask(again.chain([settle(&key)]).collect());
        without_archive(&mut world);
    }
    let before = world.driver().placer().segments().count();
    archive(&mut world);
    let asked: Vec<_> =
        keys(60).map(|key| (world.ask(vec![Command::Get(at(&key))]), key)).collect();
    settle_down(&mut world);
    without_archive(&mut world);
    assert!(
        world.driver().placer().segments().count() < before,
        "a segment has waited for the archive alone"
    );
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
    let mut world = begun();
    answers(&mut world, vec![schedule("k", HOUR, 10, IfExists::Keep)]);
    world.disk.set_full(true);
    let mut number = 0;
    let refused = loop {
        let some = (number..number + 100).map(remember).collect();
        number += 100;
        if let Some(Answer::Refused(refusal)) = answers(&mut world, some).pop() {
            break refusal;
        }
        assert!(number < 100_000, "the disk is never full");
    };
    assert!(matches!(refused, Refusal::StorageFull), "{refused:?}");
    assert!(!can_step(world.driver().placer()), "a start now would be refused");
    world.clocks.pass(Span::from_mins(20));
    settle_down(&mut world);
    assert!(matches!(
        answers(&mut world, vec![settle("k")])[0],
        Answer::Refused(Refusal::StorageFull)
    ));
    assert!(get(&mut world, "k").is_some(), "reading goes on");
    world.disk.set_full(false);
    world.clocks.pass(Span::from_secs(1));
    all(&mut world, Duty::Allocate);
    assert!(matches!(answers(&mut world, vec![settle("k")])[0], Answer::Settled { .. }));
}

#[test]
fn nothing_is_swept_by_a_time_that_is_not_durable() {
    let mut world = begun();
    let policy =
        Policy { payload_retention: Span::from_mins(1), target: Target::None, ..Policy::default() };
    let put = Command::PutQueue { queue: orders(), policy: Box::new(policy), declared: None };
    answers(&mut world, vec![put, schedule("k", HOUR, 10, IfExists::Keep), settle("k")]);
    world.disk.set_full(true);
    let mut number = 0;
    while world.driver().engine().storage() < Storage::Gone {
        let some = (number..number + 100).map(remember).collect();
        number += 100;
        answers(&mut world, some);
    }
    // An hour passes that no fact can tell of; then the process ends and somebody sets the clock.
    world.clocks.pass(HOUR);
    settle_down(&mut world);
    world.kill(false);
    world.clocks.set_wall(-3_600_000);
    world.disk.set_full(false);
    world.open().expect("there is room again");
    settle_down(&mut world);
    let deadline = get(&mut world, "k").expect("it is kept");
    assert!(payload_of(&deadline).starts_with(b"k:"));
    world.clocks.pass(Span::from_mins(2));
    settle_down(&mut world);
    let deadline = get(&mut world, "k").expect("it is kept");
    assert_eq!(deadline.payload, PayloadAt::Gone, "its time is over");
}

#[test]
fn a_full_disk_is_cleaned_before_the_journal_is_long() {
    let mut world = begun();
    world.disk.set_full(true);
    let mut low = 0;
    // Four times what the disk has room for; hardly anything of it is live.
    for number in 0..500 {
        let key = format!("k{number}");
        let asked = vec![schedule(&key, HOUR, 60_000, IfExists::Keep), settle(&key)];
        let answers = answers(&mut world, asked);
        low += usize::from(matches!(answers[0], Answer::Refused(Refusal::StorageLow)));
        without_archive(&mut world);
    }
    assert!(low < 100, "{low} schedules of 500 were refused");
}

// What the tests do with a world.

fn begun() -> World {
    let mut world = World::new(Settings {
        store: SMALL,
        limits: Limits::default(),
        look_every: Span::from_secs(10),
        identity: 1,
    });
    world.open().expect("an empty disk opens");
    settle_down(&mut world);
    world
}

/// Does a duty, if there is something to do.
fn once(world: &mut World, duty: Duty) -> bool {
    if !world.can(duty) {
        return false;
    }
    if let Done::Stepped(stepped) = world.perform(duty).expect("the disk works") {
        let bytes = stepped.records.last().map_or(0, |record| record.facts.len() + 64);
        assert!(bytes <= LARGEST_STEP, "a step of {bytes} bytes");
    }
    true
}

/// Does a duty as long as there is something to do.
fn all(world: &mut World, duty: Duty) -> bool {
    let done = (0..ROUNDS).take_while(|_| once(world, duty)).count();
    assert!(done < ROUNDS, "{duty:?} never ends");
    done > 0
}

/// Lets everything go its way, but for these, until nothing more is to be done at this time.
fn settle_without(world: &mut World, waiting: &[Duty]) {
    for _ in 0..ROUNDS {
        let mut done = false;
        for duty in Duty::ALL.into_iter().filter(|duty| !waiting.contains(duty)) {
            done |= if duty == Duty::Step { once(world, duty) } else { all(world, duty) };
        }
        if !done {
            return;
        }
    }
    panic!("it never comes to rest");
}

fn settle_down(world: &mut World) {
    settle_without(world, &[]);
}

/// What goes on in four seconds while the archive does not come further.
fn without_archive(world: &mut World) {
    for _ in 0..4 {
        world.clocks.pass(Span::from_secs(1));
        drop(world.perform(Duty::Step).expect("a step needs no disk"));
        settle_without(world, &[Duty::Begin, Duty::Commit]);
    }
}

fn archive(world: &mut World) {
    while all(world, Duty::Begin) {
        all(world, Duty::Commit);
    }
}

fn answers(world: &mut World, commands: Vec<Command>) -> Vec<Answer> {
    let mut asked = world.ask(commands);
    settle_down(world);
    told(&mut asked).expect("everything asked has been answered")
}

fn wait(world: &mut World, max: usize) -> (u64, oneshot::Receiver<Reply>) {
    world.wait_for_lease(&orders(), max, Span::from_mins(10))
}

fn lease(world: &mut World, max: usize) -> oneshot::Receiver<Reply> {
    wait(world, max).1
}

/// The deadline under this key, as it is told.
fn get(world: &mut World, key: &str) -> Option<Deadline> {
    match answers(world, vec![Command::Get(at(key))]).pop() {
        Some(Answer::Deadline(deadline)) => Some(*deadline),
        _ => None,
    }
}

/// What somebody was told, payloads fetched; nothing while the answer has not left.
fn told(asked: &mut oneshot::Receiver<Reply>) -> Option<Vec<Answer>> {
    let mut reply = asked.try_recv().ok()?;
    let mut stored = reply.pins.payloads();
    for payload in reply.answers.iter_mut().flat_map(Answer::payloads_mut) {
        stored.read(payload).expect("the disk works");
    }
    Some(reply.answers)
}

fn orders() -> QueueName {
    QueueName::new("orders").expect("a good name")
}

fn at(key: &str) -> Address {
    Address { queue: orders(), key: Key::new(key).expect("a good key") }
}

/// A schedule with a payload of so many bytes that names its key.
fn schedule(key: &str, after: Span, bytes: usize, if_exists: IfExists) -> Command {
    let mut text = format!("{key}:").into_bytes();
    text.resize(bytes.max(text.len()), b'x');
    let payload = Payload { kind: PayloadKind::Bytes, bytes: text.into() };
    Command::Schedule(Schedule {
        payload: Some(payload),
        if_exists,
        ..Schedule::new(at(key), When::After(after))
    })
}

fn settle(key: &str) -> Command {
    let outcome = Outcome::new("paid").expect("a good outcome");
    Command::Settle(Settle { at: at(key), outcome, remember: None, generation: None })
}

fn payload_of(deadline: &Deadline) -> &[u8] {
    match &deadline.payload {
        PayloadAt::Here(payload) => &payload.bytes,
        other => panic!("{other:?} is no payload that was told"),
    }
}
