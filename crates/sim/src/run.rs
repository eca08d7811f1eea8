//! `run`: many lives, each from its seed; `twice`: one life lived twice.
//!
//! Lives are independent, so as many run at once as there are processors. A violation prints its seed,
//! the promise, what happened last and the command that repeats it; so does a panic anywhere in the
//! product. One seed in a hundred is lived twice and must come to the same number both times. A run
//! that reached too little, or not every marker, fails.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this program is for")]

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::amount::Amount;
use crate::counters::Counters;
use crate::history::History;
use crate::life::{Report, live};
use crate::linearize::{self, Judgement};
use crate::markers::{Marker, Markers};

/// An ordinary run.
const SEEDS: u64 = 5_000;
/// One in so many seeds is lived twice.
const TWICE: u64 = 100;
/// Operations of a life that the linearizability checker judges, at the least.
const LINEARIZED: u64 = 100;
/// A violation is shown in full so many times.
const SHOWN: u64 = 3;

/// How much to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many lives; as an ordinary run does unless it is said.
    #[arg(long)]
    seeds: Option<u64>,
    /// The seed of the first.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    amount: Amount,
    /// Print how often each rare state was met.
    #[arg(long)]
    markers: bool,
}

/// Lives many lives.
#[expect(clippy::unnecessary_wraps, reason = "every way of proving may break")]
pub(crate) fn run(options: &Options) -> anyhow::Result<Counters> {
    let seeds = options.seeds.unwrap_or(SEEDS * options.amount.times());
    let all = Mutex::new((Counters::new("run"), Markers::default()));
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds {
                        return;
                    }
                    let seed = options.seed + number;
                    let outcome = lived(seed);
                    let (counters, markers) =
                        &mut *all.lock().expect("nothing panics while it counts");
                    count(seed, outcome, counters, markers);
                    stop.store(counters.violations() >= SHOWN, Ordering::Relaxed);
                    let done = counters.value("seeds");
                    if done.is_multiple_of((seeds / 20).max(1)) {
                        eprintln!("run: {done} of {seeds} seeds");
                    }
                }
            });
        }
    });
    let (mut counters, markers) = all.into_inner().expect("nothing panics while it counts");
    let missing = markers.missing();
    counters.add("markers", (Marker::ALL.len() - missing.len()) as u64);
    counters.floor("seeds", seeds);
    counters.floor("hours", seeds * 24);
    counters.floor("requests", seeds * 1_000);
    counters.floor("faults", seeds * 5);
    counters.floor("linearized", seeds * LINEARIZED);
    counters.floor("twice", seeds / TWICE);
    if seeds >= SEEDS {
        counters.floor("markers", Marker::ALL.len() as u64);
        for marker in &missing {
            eprintln!("NEVER MET: {}", marker.words());
        }
    }
    if options.markers {
        for marker in Marker::ALL {
            println!("{:>10} {}", markers.count(*marker), marker.words());
        }
    }
    Ok(counters)
}

/// Lives one life twice.
#[expect(clippy::unnecessary_wraps, reason = "every way of proving may break")]
pub(crate) fn twice(seed: u64) -> anyhow::Result<Counters> {
    let mut counters = Counters::new("twice");
    let outcome = lived_twice(seed);
    count(seed, outcome, &mut counters, &mut Markers::default());
    counters.floor("twice", 1);
    Ok(counters)
}

/// What came of a life: a report, or the words of a panic; and whether it was lived twice.
struct Outcome {
    report: Result<(Report, Judgement), String>,
    again: Option<bool>,
}

fn lived(seed: u64) -> Outcome {
    if seed.is_multiple_of(TWICE) {
        return lived_twice(seed);
    }
    Outcome { report: guarded(seed, false), again: None }
}

fn lived_twice(seed: u64) -> Outcome {
    let (first, second) = (guarded(seed, false), guarded(seed, false));
    let again = match (&first, &second) {
        (Ok((first, _)), Ok((second, _))) => first.digest == second.digest,
        (Err(first), Err(second)) => first == second,
        _ => false,
    };
    Outcome { report: first, again: Some(again) }
}

/// An assertion of the product that fails is a violation like any other.
fn guarded(seed: u64, with_trail: bool) -> Result<(Report, Judgement), String> {
    let lived = || {
        let report = live(seed, with_trail);
        let judgement = linearize::check(&report.history);
        (report, judgement)
    };
    catch_unwind(AssertUnwindSafe(lived)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// Leaves a history to be looked at, where it can be judged again.
fn keep(history: &History, seed: u64) {
    let path = std::env::temp_dir().join(format!("duly-history-{seed}.jsonl"));
    let kept = File::create(&path).map_err(Into::into).and_then(|file| history.write(file));
    match kept {
        Ok(()) => eprintln!("  the history: duly-sim history {}", path.display()),
        Err(error) => eprintln!("  the history could not be kept: {error:#}"),
    }
}

/// Characters of a line that a person still reads; payloads go on for kilobytes.
const LEGIBLE: usize = 400;

fn count(seed: u64, outcome: Outcome, counters: &mut Counters, markers: &mut Markers) {
    counters.add("seeds", 1);
    let Outcome { report, again } = outcome;
    match again {
        Some(true) => counters.add("twice", 1),
        Some(false) => counters.violation(&format!("seed {seed} gives other bytes each time")),
        None => {}
    }
    let repeat = format!("duly-sim run --seeds 1 --seed {seed}");
    match report {
        Ok((report, judgement)) => {
            counters.add("hours", report.hours);
            counters.add("requests", report.requests);
            counters.add("answers", report.answers);
            counters.add("faults", report.faults);
            counters.add("restarts", report.restarts);
            counters.add("steps", report.steps);
            counters.add("facts", report.facts);
            markers.take_in(&report.markers);
            counters.add("linearized", judgement.operations);
            for trouble in &judgement.troubles {
                counters.violation(&format!("seed {seed}: {trouble}\n  again: {repeat}"));
            }
            if !judgement.troubles.is_empty() {
                keep(&report.history, seed);
            }
            if let Some(violation) = report.violation {
                if let Ok((shown, _)) = guarded(seed, true) {
                    for line in shown.trail {
                        eprintln!("  {}", line.chars().take(LEGIBLE).collect::<String>());
                    }
                }
                let (promise, what) = (violation.promise, violation.what);
                counters.violation(&format!("seed {seed}: {promise}: {what}\n  again: {repeat}"));
            }
        }
        Err(panic) => {
            counters.violation(&format!("seed {seed} panics: {panic}\n  again: {repeat}"));
        }
    }
}
