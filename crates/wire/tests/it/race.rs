//! Many workers claim the same members, each in its own order and in between the others' questions:
//! every member is claimed by one of them, and whoever is killed on the way takes nothing with him.

use std::collections::VecDeque;

use duly_engine::time::Span;

use crate::script::{report, step};
use crate::world::World;

const WORKERS: usize = 8;
const MEMBERS: usize = 60;
const RACES: u64 = 30;

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % most
    }
}

fn worker(number: usize) -> String {
    char::from(b'a' + u8::try_from(number).expect("there are few")).to_string()
}

/// Half of the members are due, half are not; the queue decides when they lapse.
fn world(decide_at: &str) -> World {
    let mut world = World::new();
    step(&mut world, &format!("queue jobs target=pull{decide_at}"));
    for member in 0..MEMBERS {
        let score = if member % 2 == 0 { 1_795_348_860 } else { 1_795_349_000 };
        world.receive("", format!("ZADD jobs {score} {member}\r\n").as_bytes());
    }
    world.tick(Span::from_mins(1));
    world.seen.clear();
    world
}

/// What was told to a worker.
fn told<'a>(world: &'a World, worker: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("{worker}< ");
    world.seen.iter().filter_map(move |line| line.strip_prefix(&begin)?.strip_suffix("\\r\\n"))
}

/// Workers say one line after the other and go on in any order, until nobody has anything to do.
fn race(world: &mut World, dice: &mut Dice, mut lines: Vec<VecDeque<String>>) {
    let mut at_work: Vec<usize> = (0..lines.len()).collect();
    for number in &at_work {
        world.arrive(&worker(*number), b"");
    }
    while !at_work.is_empty() {
        let place = dice.below(at_work.len());
        let number = at_work[place];
        if world.go_on(&worker(number)) {
            continue;
        }
        match lines[number].pop_front() {
            Some(line) => world.arrive(&worker(number), line.as_bytes()),
            None => drop(at_work.swap_remove(place)),
        }
    }
}

#[test]
fn a_member_that_many_remove_is_removed_by_one() {
    let mut claims = 0;
    for seed in 0..RACES {
        let mut dice = Dice(seed);
        let mut world = world(if seed % 3 == 0 { " decide_at=handout" } else { "" });
        let mut orders: Vec<Vec<usize>> = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..WORKERS {
            let mut order: Vec<usize> = (0..MEMBERS).collect();
            for at in (1..MEMBERS).rev() {
                order.swap(at, dice.below(at + 1));
            }
            lines.push(order.iter().map(|member| format!("ZREM jobs {member}\r\n")).collect());
            orders.push(order);
        }
        race(&mut world, &mut dice, lines);
        let mut winners = vec![0; MEMBERS];
        for (number, order) in orders.iter().enumerate() {
            let replies: Vec<&str> = told(&world, &worker(number)).collect();
            assert_eq!(replies.len(), MEMBERS, "everybody is answered everything");
            for (member, reply) in order.iter().zip(replies) {
                assert!([":0", ":1"].contains(&reply), "{reply}");
                winners[*member] += usize::from(reply == ":1");
            }
        }
        assert_eq!(winners, [1; MEMBERS], "in race {seed}");
        claims += WORKERS * MEMBERS;
    }
    report(&format!("{RACES} races, {claims} claims"));
}

#[test]
fn removed_taken_and_leased_is_each_member_once() {
    for seed in 0..RACES {
        let mut dice = Dice(seed);
        let mut world = world("");
        let line = |number, member| match number % 3 {
            0 => format!("ZREM jobs {member}\r\n"),
            1 => "ZPOPMIN jobs\r\n".to_owned(),
            _ => "BZPOPMIN jobs 1\r\n".to_owned(),
        };
        let lines = |number| (0..MEMBERS).map(move |member| line(number, member)).collect();
        race(&mut world, &mut dice, (0..WORKERS).map(lines).collect());
        // Whoever takes one is told its score, which nobody is told otherwise.
        let all = (0..WORKERS).map(worker);
        let all: Vec<String> = all
            .flat_map(|name| told(&world, &name).map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let removed = all.iter().filter(|line| *line == ":1").count();
        let taken = all.iter().filter(|line| *line == "1795348860").count();
        assert!(removed >= MEMBERS / 2, "what is not due is removed");
        assert!(taken > 0, "some was taken");
        assert_eq!(removed + taken, MEMBERS, "in race {seed}");
    }
}

#[test]
fn whoever_is_gone_between_lease_and_end_takes_nothing_with_him() {
    let mut world = world("");
    // It is leased, and the verdict never comes.
    world.arrive("a", b"ZPOPMIN jobs\r\n");
    assert!(world.go_on("a"));
    world.receive("b", b"ZREM jobs 0\r\n");
    world.tick(Span::from_secs(10));
    world.receive("b", b"ZREM jobs 0\r\nZREM jobs 0\r\n");
    assert_eq!(told(&world, "b").collect::<Vec<_>>(), [":0", ":1", ":0"]);
    assert!(told(&world, "a").next().is_none(), "it was told nothing");
    // Had it been slow and not gone, it would have been told the truth.
    while world.go_on("a") {}
    assert_eq!(told(&world, "a").collect::<Vec<_>>(), ["*0"]);
}
