//! Fuzzing: every parser and decoder is fed what nobody would write.
//!
//! Inputs are changed copies of a corpus kept in the repository; an input that is taken or refused in
//! a way not seen before is changed further. Everything follows from the seed, round by round. A
//! failure prints its input, keeps it in the corpus, and names the command that repeats it; so does
//! an execution of more than a second. `cargo test` feeds the corpus itself and some changes of it,
//! so that what was found once stays found.

#![expect(clippy::print_stderr, reason = "it is what this program is for")]

mod corpus;
mod mutate;
mod targets;

use std::any::Any;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::counters::Counters;
use crate::dice::Dice;
use targets::{ALL, Fate, Target};

/// What an ordinary run executes, and no less.
pub(crate) const EXECUTIONS: u64 = 5_000_000;
/// Threads at work.
const THREADS: usize = 2;
/// Executions that follow from one seed.
const ROUND: u64 = 50_000;
/// An execution that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(1);
/// One that takes longer will not end.
const FOR_EVER: Duration = Duration::from_secs(20);
/// Most inputs that a round keeps in mind besides the corpus.
const NEW_KINDS: usize = 2_000;

/// A part of the work on one target.
struct Round {
    target: &'static Target,
    number: u64,
    executions: u64,
}

/// What came of a round.
struct Done {
    executions: u64,
    taken: u64,
    kinds: u64,
    failure: Option<Failure>,
}

/// What is wrong, and the input that shows it.
#[derive(Debug)]
struct Failure {
    why: String,
    input: Vec<u8>,
}

/// What a thread is feeding, and since when.
type Feeding = Mutex<Option<(Instant, &'static str, Vec<u8>)>>;

/// Fuzzes all targets, or one.
pub(crate) fn run(executions: u64, only: Option<&str>, seed: u64) -> anyhow::Result<Counters> {
    let chosen = ALL.iter().filter(|target| only.is_none_or(|only| target.name == only));
    let chosen: Vec<&Target> = chosen.collect();
    let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
    ensure!(!chosen.is_empty(), "there is no such target; there are {}", names.join(", "));
    let mut counters = Counters::new("fuzz");
    counters.floor("executions", executions);
    for target in &chosen {
        counters.floor(target.name, 1);
    }
    let rounds = rounds(&chosen, executions);
    // Whoever panics says so in the failure.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let dones = work(&rounds, seed);
    std::panic::set_hook(before);
    for (round, done) in rounds.iter().zip(dones) {
        let (target, done) = (round.target, done?);
        counters.add("executions", done.executions);
        counters.add("taken", done.taken);
        counters.add(target.name, done.executions);
        if let Some(Failure { why, input }) = done.failure {
            let kept = corpus::keep(target, &input)?;
            counters.violation(&format!(
                "{}: {why}\n  input: {}\n  kept: {}\n  again: duly-sim fuzz --target {} --seed {seed}",
                target.name,
                hex(&input),
                kept.display(),
                target.name,
            ));
        }
    }
    Ok(counters)
}

/// The work, cut into rounds; the slow ones first.
fn rounds(chosen: &[&'static Target], executions: u64) -> Vec<Round> {
    let shares: u64 = chosen.iter().map(|target| target.share).sum();
    let mut rounds = Vec::new();
    for target in chosen {
        let mut left = (executions * target.share).div_ceil(shares);
        for number in 0.. {
            let executions = left.min(ROUND);
            left -= executions;
            if executions == 0 {
                break;
            }
            rounds.push(Round { target, number, executions });
        }
    }
    rounds.sort_by_key(|round| (round.target.share, round.number));
    rounds
}

/// Does all rounds; what came of each, in their order.
fn work(rounds: &[Round], seed: u64) -> Vec<anyhow::Result<Done>> {
    let feeding: [Feeding; THREADS] = Default::default();
    let next = AtomicUsize::new(0);
    let dones: Mutex<Vec<(usize, anyhow::Result<Done>)>> = Mutex::new(Vec::new());
    let all_done = || dones.lock().expect("no thread panics").len() == rounds.len();
    thread::scope(|scope| {
        for feeding in &feeding {
            let (next, dones) = (&next, &dones);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(round) = rounds.get(index) else { break };
                    let done = fuzz(round, seed, feeding);
                    if let Ok(done) = &done {
                        let Round { target, number, .. } = round;
                        let (taken, kinds) = (done.taken, done.kinds);
                        eprintln!("{} round {number}: taken={taken} kinds={kinds}", target.name);
                    }
                    dones.lock().expect("no thread panics").push((index, done));
                }
            });
        }
        while !all_done() {
            thread::sleep(Duration::from_millis(100));
            feeding.iter().for_each(mind);
        }
    });
    let mut dones = dones.into_inner().expect("no thread panics");
    dones.sort_by_key(|(index, _)| *index);
    dones.into_iter().map(|(_, done)| done).collect()
}

/// Ends the program when an execution will not.
fn mind(feeding: &Feeding) {
    let feeding = feeding.lock().expect("no thread panics with it");
    if let Some((since, target, input)) = &*feeding
        && since.elapsed() > FOR_EVER
    {
        eprintln!("VIOLATION (fuzz): {target} does not end\n  input: {}", hex(input));
        std::process::exit(1);
    }
}

/// Does a round, or as much of it as goes well.
fn fuzz(round: &Round, seed: u64, feeding: &Feeding) -> anyhow::Result<Done> {
    let target = round.target;
    let mut pool = corpus::load(target)?;
    ensure!(!pool.is_empty(), "{} has no corpus", target.name);
    let mut done = Done { executions: 0, taken: 0, kinds: 0, failure: None };
    let mut kinds = HashSet::new();
    for input in &pool {
        match feed(target, input, feeding) {
            Ok(fate) => kinds.insert(fate),
            Err(failure) => {
                done.failure = Some(failure);
                return Ok(done);
            }
        };
    }
    let mut dice = Dice::new(seed ^ targets::fingerprint(target.name.as_bytes()) ^ round.number);
    let most = pool.len() + NEW_KINDS;
    let mut input = Vec::new();
    for _ in 0..round.executions {
        mutate::mutated(&pool, target.words, &mut dice, &mut input);
        done.executions += 1;
        match feed(target, &input, feeding) {
            Ok(fate) => {
                done.taken += u64::from(fate.taken);
                if kinds.insert(fate) && pool.len() < most {
                    pool.push(input.clone());
                }
            }
            Err(failure) => {
                done.failure = Some(failure);
                break;
            }
        }
    }
    done.kinds = kinds.len() as u64;
    Ok(done)
}

/// One execution.
fn feed(target: &'static Target, input: &[u8], feeding: &Feeding) -> Result<Fate, Failure> {
    let began = Instant::now();
    *feeding.lock().expect("no thread panics with it") = Some((began, target.name, input.to_vec()));
    let fed = catch_unwind(|| (target.feed)(input));
    let took = began.elapsed();
    *feeding.lock().expect("no thread panics with it") = None;
    let failure = |why| Failure { why, input: input.to_vec() };
    let fate = fed.map_err(|panic| failure(said(panic.as_ref())))?;
    // The machine may have done something else; an input that hangs does so twice.
    if took > LONGEST {
        let began = Instant::now();
        (target.feed)(input);
        if began.elapsed() > LONGEST {
            return Err(failure(format!("it took {took:?}")));
        }
    }
    Ok(fate)
}

/// The sentence of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without a word").to_owned()
}

fn hex(input: &[u8]) -> String {
    input.iter().fold(String::with_capacity(input.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "it says how much it did")]
mod tests {
    use super::*;

    /// Changes of the corpus of each target.
    const CHANGES: u64 = 3_000;

    #[test]
    fn every_target_bears_its_corpus_and_changes_of_it() {
        for target in ALL {
            let executions = CHANGES.min(CHANGES * target.share / 20);
            let round = Round { target, number: 0, executions };
            let done = fuzz(&round, 1, &Feeding::default()).expect("the corpus can be read");
            if let Some(Failure { why, input }) = done.failure {
                panic!("{}: {why}\ninput: {}", target.name, hex(&input));
            }
            println!("{}: executions={executions} taken={}", target.name, done.taken);
            assert!(done.taken * 100 >= executions, "{} takes next to nothing", target.name);
        }
    }

    #[test]
    fn a_failure_is_seen_with_its_input() {
        let fragile = |input: &[u8]| {
            assert!(!input.contains(&b'7'), "no sevens");
            Fate { taken: true, kind: 0 }
        };
        let target =
            Box::leak(Box::new(Target { name: "units", feed: fragile, share: 1, words: &["7"] }));
        let round = Round { target, number: 0, executions: 1_000 };
        let done = fuzz(&round, 1, &Feeding::default()).expect("the corpus can be read");
        let Failure { why, input } = done.failure.expect("there are sevens");
        assert_eq!(why, "no sevens");
        assert!(input.contains(&b'7'));
    }
}
