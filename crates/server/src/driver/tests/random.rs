//! Anything in any order, with the power cut in between: what somebody was told stays true.
//!
//! The witness keeps every answer that left. Whatever is told later, also after a crash, must agree
//! with it: a generation never goes back, an ending never changes, a payload is the one that was
//! scheduled, and nothing is attempted for a deadline that somebody heard was settled.

use std::collections::BTreeMap;

use duly_engine::answer::{Answer, Leased};
use duly_engine::command::{Command, IfExists, Verdict};
use duly_engine::deadline::{Deadline, State};
use duly_engine::time::Span;
use tokio::sync::oneshot;

use super::{Reply, World, at, payload_of, schedule, settle, told};

const KEYS: u64 = 40;
const COMMANDS: usize = 3_000;
const CRASHES: u64 = 12;

/// A generator of numbers that look random (xorshift*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    }
}

/// All that was told of a generation of a deadline.
#[derive(Default)]
struct Told {
    payload: Option<Vec<u8>>,
    /// Settled or lapsed: which cannot be taken back.
    state: Option<State>,
    is_over: bool,
}

#[derive(Default)]
struct Witness {
    generations: BTreeMap<(u64, u32), Told>,
    /// The latest (number, generation) told of each key.
    latest: BTreeMap<String, (u64, u32)>,
    heard: u64,
}

impl Witness {
    fn hear(&mut self, deadline: &Deadline) {
        self.heard += 1;
        let name = (deadline.id.0, deadline.generation.0);
        let key = deadline.key.as_str();
        let payload = payload_of(deadline).to_vec();
        assert!(payload.starts_with(format!("{key}:").as_bytes()), "{key} has another's payload");
        let told = self.generations.entry(name).or_default();
        let before = told.payload.get_or_insert_with(|| payload.clone());
        assert_eq!(*before, payload, "the payload of {key} {name:?} has changed");
        // A request that waited for the archive may have seen an earlier state than others heard of.
        if deadline.state != State::Pending {
            let state = *told.state.get_or_insert(deadline.state);
            assert_eq!(state, deadline.state, "{key} {name:?} has ended twice");
        }
        told.is_over |= deadline.is_final();
        let latest = self.latest.entry(key.to_owned()).or_insert(name);
        *latest = name.max(*latest);
    }

    /// What is told of a key now is the latest that ever was.
    fn check(&self, key: &str, deadline: Option<&Deadline>) {
        let Some(latest) = self.latest.get(key) else { return };
        let found = deadline.map(|deadline| (deadline.id.0, deadline.generation.0));
        assert!(found >= Some(*latest), "{key}: {latest:?} was told, now it is {found:?}");
        if let (Some(deadline), true) = (deadline, found == Some(*latest)) {
            let told = &self.generations[latest];
            assert!(told.state.is_none_or(|state| state == deadline.state), "{key} is open again");
            assert!(!told.is_over || deadline.is_final(), "{key} is not over any more");
        }
    }

    fn attempted(&self, delivery: &Leased) {
        let name = (delivery.id.deadline.0, delivery.id.generation.0);
        let settled = self.generations.get(&name).and_then(|told| told.state);
        assert_ne!(settled, Some(State::Settled), "a ghost: {} {name:?}", delivery.key);
    }
}

fn command(dice: &mut Dice) -> Command {
    let key = format!("k{}", dice.roll(KEYS));
    let after = Span::from_millis(1 + dice.roll(20_000));
    let bytes = match dice.roll(10) {
        0 => 60_000,
        1..4 => 8_000,
        _ => 100,
    };
    // Two payloads are never the same.
    let bytes = usize::try_from(bytes + dice.roll(3_000)).expect("a small number");
    match dice.roll(10) {
        0..3 => schedule(&key, after, bytes, IfExists::Renew),
        3..5 => schedule(&key, after, bytes, IfExists::Replace),
        5..7 => settle(&key),
        7 => Command::Freeze { at: at(&key), span: Span::from_secs(dice.roll(10)) },
        _ => Command::Get(at(&key)),
    }
}

/// Everything that may happen next, one thing at a time.
fn happen(
    world: &mut World,
    dice: &mut Dice,
    asked: &mut Vec<oneshot::Receiver<Reply>>,
    leases: &mut Vec<Leased>,
) {
    match dice.roll(16) {
        0..5 => {
            let commands = (0..=dice.roll(6)).map(|_| command(dice)).collect();
            asked.push(world.ask(commands));
        }
        5 => asked.push(world.lease("orders", 5)),
        6 => {
            if let Some(delivery) = leases.pop() {
                let verdict = match dice.roll(3) {
                    0 => Verdict::Done,
                    1 => Verdict::Superseded,
                    _ => Verdict::Retry { error: "x".repeat(300).into(), after: None },
                };
                let (delivery, token) = (delivery.id, delivery.token);
                asked.push(world.ask(vec![Command::Verdict { delivery, token, verdict }]));
            }
        }
        7 => world.pass(Span::from_millis(dice.roll(3_000))),
        8 => world.archive(),
        9 => world.look_up(),
        10 => world.read_old(),
        11 => world.allocate(),
        12 => world.sync(),
        _ => {
            world.step();
            // One record may be syncing while another is gathered, no more.
            if world.up().releases.len() > 2 {
                world.sync();
            }
        }
    }
}

fn hear_all(
    witness: &mut Witness,
    asked: &mut Vec<oneshot::Receiver<Reply>>,
    leases: &mut Vec<Leased>,
) {
    let mut answers = Vec::new();
    asked.retain_mut(|asked| match told(asked) {
        Some(told) => {
            answers.extend(told);
            false
        }
        None => true,
    });
    for mut answer in answers {
        match &mut answer {
            Answer::Leased(deliveries) => {
                for delivery in deliveries.iter() {
                    witness.attempted(delivery);
                }
                leases.append(deliveries);
            }
            Answer::Scheduled { deadline, .. }
            | Answer::Settled { deadline, .. }
            | Answer::Deadline(deadline)
            | Answer::VerdictTaken(deadline) => witness.hear(deadline),
            Answer::Refused(refusal) => {
                refusal.deadline_mut().into_iter().for_each(|deadline| witness.hear(deadline));
            }
            _ => {}
        }
    }
}

fn a_life(seed: u64) {
    let mut world = World::new();
    let mut dice = Dice(seed);
    let mut witness = Witness::default();
    let mut most_segments = 0;
    for crash in 0..CRASHES {
        let (mut asked, mut leases) = (Vec::new(), Vec::new());
        for _ in 0..COMMANDS / usize::try_from(CRASHES).expect("a few") {
            happen(&mut world, &mut dice, &mut asked, &mut leases);
            hear_all(&mut witness, &mut asked, &mut leases);
            most_segments = most_segments.max(world.segments());
        }
        if dice.roll(2) == 0 {
            world.write();
        }
        world.crash(seed ^ crash);
        for number in 0..KEYS {
            let key = format!("k{number}");
            let deadline = world.get(&key);
            witness.check(&key, deadline.as_ref());
            if let Some(deadline) = &deadline {
                witness.hear(deadline);
            }
        }
    }
    assert!(witness.heard > 1_000, "only {} answers were heard", witness.heard);
    assert!(most_segments > 2, "no segment was ever left");
}

#[test]
fn what_was_told_stays_true_through_power_cuts() {
    for seed in 1..=4 {
        a_life(seed);
    }
}
