//! The zoo: lets one seeded defect loose after the other, and says which suite catches which.
//!
//! The suites are the other commands of this program, run as children with small budgets and with
//! the bug in their environment. A suite catches a bug when it names a violation, or when an
//! assertion of the product ends it; having done too little is no catch. First every suite runs with
//! no bug at all and must be content, or its catches would mean nothing. A bug that nobody catches
//! is a violation: the proofs have a gap there.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this program is for")]

use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use duly_engine::zoo::{Bug, let_loose};

use crate::counters::Counters;

/// Names the bug that a child lets loose.
pub(crate) const LOOSE: &str = "ZOO_BUG";

/// The least number of bugs that must be caught.
const FLOOR: u64 = 20;

/// Children at once.
const AT_ONCE: usize = 2;

/// A way of proving, with a budget that it can afford for every bug.
struct Suite {
    name: &'static str,
    arguments: &'static [&'static str],
    /// The bugs it is for; for a dear suite those that it should know.
    bugs: &'static [Bug],
}

/// What goes wrong between Duly and its disk.
const OF_THE_DISK: &[Bug] = &[
    Bug::AnswerBeforeSync,
    Bug::SyncErrorIgnored,
    Bug::SyncRetried,
    Bug::ShortWriteIsWhole,
    Bug::NamesNotSynced,
    Bug::SealNotSynced,
    Bug::TailNotRewritten,
    Bug::CleaningForgets,
];

/// The simulator first: it catches most, and cheaply.
const SUITES: &[Suite] = &[
    Suite { name: "run", arguments: &["run", "--seeds", "500"], bugs: Bug::ALL },
    // For what takes a rare coincidence: one life in two thousand meets it.
    Suite {
        name: "run on",
        arguments: &["run", "--seed", "501", "--seeds", "3000"],
        bugs: &[Bug::FreedBeforeArchived],
    },
    Suite { name: "io", arguments: &["small", "io"], bugs: OF_THE_DISK },
    Suite {
        name: "flip",
        arguments: &["small", "flip"],
        bugs: &[Bug::ChecksumIgnored, Bug::CorruptionCut],
    },
    Suite { name: "cut", arguments: &["small", "cut"], bugs: &[Bug::ChecksumIgnored] },
    Suite {
        name: "power",
        arguments: &["attack", "power", "--cycles", "20"],
        bugs: &[Bug::AnswerBeforeSync, Bug::ReadBeforeSync],
    },
    Suite {
        name: "fsync",
        arguments: &["attack", "fsync", "--cycles", "4"],
        bugs: &[Bug::AnswerBeforeSync, Bug::SyncErrorIgnored],
    },
];

/// What a suite said of a bug.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It named a violation.
    Caught,
    /// An assertion of the product ended it.
    Crashed,
    /// It was content.
    Missed,
    /// It was not asked.
    Untried,
}

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Verdict::Caught => "caught",
            Verdict::Crashed => "crashed",
            Verdict::Missed => "-",
            Verdict::Untried => "",
        }
    }
}

/// Lets the bug loose that the environment names, if it names one.
pub(crate) fn open() -> anyhow::Result<()> {
    let Ok(name) = std::env::var(LOOSE) else { return Ok(()) };
    let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    let_loose(Some(bug.with_context(|| format!("{LOOSE}: there is no bug {name:?}"))?));
    eprintln!("loose: {name}");
    Ok(())
}

/// Tries all bugs, or one.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<Counters> {
    let mut counters = Counters::new("zoo");
    let bugs: Vec<Bug> =
        Bug::ALL.iter().copied().filter(|bug| only.is_none_or(|only| bug.name() == only)).collect();
    ensure!(!bugs.is_empty(), "there is no bug of that name");
    for suite in SUITES {
        match suite.run(None)? {
            Verdict::Missed => println!("{:<10} content without a bug", suite.name),
            _ => counters.violation(&format!("{} fails without any bug", suite.name)),
        }
    }
    let next = AtomicUsize::new(0);
    let judged = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let keeper = || {
            while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let verdicts: anyhow::Result<Vec<Verdict>> =
                    SUITES.iter().map(|suite| suite.try_on(*bug)).collect();
                eprintln!("tried {}", bug.name());
                judged.lock().expect("no keeper panics").push((*bug, verdicts));
            }
        };
        for _ in 0..AT_ONCE {
            scope.spawn(keeper);
        }
    });
    let mut judged = judged.into_inner().expect("no keeper panics");
    judged.sort_by_key(|(bug, _)| *bug);

    let heads: Vec<String> = SUITES.iter().map(|suite| format!("{:<8}", suite.name)).collect();
    println!("\n{:<26}{}what it does", "", heads.concat());
    for (bug, verdicts) in judged {
        let verdicts = verdicts?;
        let marks: Vec<String> =
            verdicts.iter().map(|verdict| format!("{:<8}", verdict.mark())).collect();
        println!("{:<26}{}{}", bug.name(), marks.concat(), bug.about());
        counters.add("bugs", 1);
        let knows = |verdict: &Verdict| matches!(verdict, Verdict::Caught | Verdict::Crashed);
        if verdicts.iter().any(knows) {
            counters.add("caught", 1);
        } else {
            counters.violation(&format!("nobody catches {}", bug.name()));
        }
    }
    counters.floor("caught", if only.is_some() { 1 } else { FLOOR });
    Ok(counters)
}

impl Suite {
    fn try_on(&self, bug: Bug) -> anyhow::Result<Verdict> {
        if self.bugs.contains(&bug) { self.run(Some(bug)) } else { Ok(Verdict::Untried) }
    }

    fn run(&self, bug: Option<Bug>) -> anyhow::Result<Verdict> {
        let program = std::env::current_exe().context("this program has a file")?;
        let mut child = Command::new(program);
        child.args(self.arguments).stdin(Stdio::null()).env_remove(LOOSE);
        if let Some(bug) = bug {
            child.env(LOOSE, bug.name());
        }
        let Output { status, stdout, stderr } =
            child.output().with_context(|| format!("cannot run the suite {}", self.name))?;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        match status.code() {
            Some(0) => Ok(Verdict::Missed),
            Some(1) if !stdout.contains("violations=0") => Ok(Verdict::Caught),
            Some(1) if bug.is_some() => Ok(Verdict::Missed),
            Some(1 | 2) => bail!("the suite {} is broken: {stderr}", self.name),
            // A panic, an abort, or the disk's fault that ends a process.
            Some(_) | None => Ok(Verdict::Crashed),
        }
    }
}
