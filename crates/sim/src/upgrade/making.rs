//! The story of a frozen directory: everything that can be in one, in small.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use duly::client::escaped;
use duly_engine::answer::Answer;
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfExists, Schedule, Settle, Verdict, When,
};
use duly_engine::deadline::{Deadline, Payload, PayloadKind};
use duly_engine::fact::{Fact, Shift};
use duly_engine::id::{DeadlineId, Key, Outcome, QueueName};
use duly_engine::queue::{DecideAt, Policy, Target, Webhook};
use duly_engine::record;
use duly_engine::time::Span;
use duly_store::disk::{Disk, MemoryDisk};
use duly_store::journal::{self, Kind, Options};
use duly_store::{Directory, FreshIdentity};

use crate::small::{QUEUES, SMALL, Server, Story, catch_up, key};

/// Turns of the story that comes first.
const TURNS: usize = 500;

/// The story is told in a year that no machine shows: a clock moved by hand then begins exactly where
/// the journal ends.
const YEARS_AHEAD: u64 = 70;

/// The queue of what is made by hand, and the queue that is being shifted.
const BY_HAND: &str = "by-hand";
const SHIFTED: &str = "shifted";

/// Makes a data directory; says what can be asked of it.
pub(super) fn make(into: &Path, seed: u64) -> anyhow::Result<Vec<String>> {
    let disk = MemoryDisk::new();
    let archive = into.join("archive.db");
    let mut server = Server::over(&disk, SMALL);
    server.pass(Span::from_days(YEARS_AHEAD * 365));
    server.open()?;
    let mut story = Story::new(seed);
    story.begin(&mut server)?;
    for turn in 0..TURNS {
        story.turn(&mut server)?;
        if turn % 8 == 7 {
            catch_up(&disk, &archive)?;
            server.archive()?;
        }
    }
    // An alarm of the clock guard is in it too.
    for by_ms in [120_000, -120_000] {
        server.set_clock(by_ms);
        server.work()?;
        server.pass(Span::from_secs(1));
        server.work()?;
    }
    let mut keys: Vec<Address> = (1..=story.keys()).map(key).collect();
    keys.extend(by_hand(&mut server)?);
    let moved = shifted(&mut server)?;
    keys.extend(moved.iter().map(|one| Address { queue: one.queue.clone(), key: one.key.clone() }));
    // Nothing may leave for a target when it is opened.
    for name in ["hooks", "ledger", BY_HAND] {
        let queue = queue(name);
        server.ask_one(Command::Pause { queue, deliveries: Some(true), lapses: None })?;
    }
    let at_ms = server.now().millis();
    server.kill();
    begin_shift(&disk, &moved, at_ms)?;
    write_files(&disk, into)?;
    Ok(questions(&keys))
}

/// One of each, by hand.
fn by_hand(server: &mut Server) -> anyhow::Result<Vec<Address>> {
    let put = Command::PutQueue {
        queue: queue(BY_HAND),
        policy: Box::new(Policy {
            default_delay: Some(Span::from_mins(30)),
            grace: Span::from_millis(1_500),
            decide_at: DecideAt::Due,
            max_total: Span::from_hours(12),
            max_freeze: Span::from_mins(20),
            target: Target::Pull,
            retry: vec![Span::from_secs(7), Span::from_mins(3)],
            retry_for: Span::from_hours(5),
            concurrency: 7,
            rate: None,
            retention: Span::from_days(40),
            payload_retention: Span::from_days(3),
        }),
        declared: Some(true),
    };
    server.ask_one(put)?;
    let hook = Command::PutQueue {
        queue: queue("all-of-a-webhook"),
        policy: Box::new(Policy {
            target: Target::Webhook(Webhook {
                url: "https://shop.example/lapsed?x=1".to_owned(),
                secrets: vec!["whsec_b25l".to_owned(), "whsec_dHdv".to_owned()],
                batch: 9,
                timeout: Span::from_secs(4),
            }),
            rate: Some(3),
            ..Policy::default()
        }),
        declared: None,
    };
    server.ask_one(hook)?;
    let minute = Span::from_mins(1);
    let json = |text: &str| Payload { kind: PayloadKind::Json, bytes: text.as_bytes().into() };
    let bytes = Payload { kind: PayloadKind::Bytes, bytes: [0, 1, 0xFE, 0xFF].into() };
    schedule(server, "pending", minute, Some(json("{\"total\":\"19.90\"}")), None)?;
    schedule(server, "bytes", minute, Some(bytes), Some(7))?;
    schedule(server, "extended", minute, None, None)?;
    let extend = Extend { at: at("extended"), by: ExtendBy::Span(minute), if_due: None };
    server.ask_one(Command::Extend(extend))?;
    schedule(server, "frozen", minute, None, None)?;
    server.ask_one(Command::Freeze { at: at("frozen"), span: Span::from_mins(10) })?;
    for name in ["settled", "settled twice", "erased"] {
        schedule(server, name, minute, Some(json("[1,2.50,null]")), None)?;
        settle(server, name, None)?;
    }
    schedule(server, "settled twice", minute, None, None)?;
    server.ask_one(Command::Erase(at("erased")))?;
    settle(server, "remembered", Some(Span::from_days(7)))?;
    // Lapsed, in each state of a delivery.
    for name in ["revived", "dead", "retried", "done", "superseded", "leased", "ready"] {
        schedule(server, name, Span::from_secs(1), None, None)?;
        server.pass(Span::from_secs(3));
        server.work()?;
        if name != "ready" {
            deliver(server, name)?;
        }
    }
    let mut names = vec!["pending", "bytes", "extended", "frozen", "settled", "settled twice"];
    names.extend(["erased", "revived", "dead", "retried", "done", "superseded", "leased", "ready"]);
    Ok(names.into_iter().map(at).collect())
}

/// Leases the one delivery that waits, and brings it to the state of this name.
fn deliver(server: &mut Server, name: &str) -> anyhow::Result<()> {
    let (queue, span) = (queue(BY_HAND), Span::from_hours(12));
    let lease = Command::Lease { queue, key: None, max: 1, span };
    let Answer::Leased(leased) = server.ask_one(lease)? else { anyhow::bail!("it is pulled") };
    let leased = leased.first().context("one waits")?;
    ensure!(name.starts_with(leased.key.as_str()), "{} was leased, not {name}", leased.key);
    let verdict = match name {
        "dead" | "revived" => Verdict::Dead { error: "410 Gone".into() },
        "retried" => Verdict::Retry {
            error: "503 \u{2014} \"soon\"".into(),
            after: Some(Span::from_mins(50)),
        },
        "done" | "revived and done" => Verdict::Done,
        "superseded" => Verdict::Superseded,
        _ => return Ok(()),
    };
    let (delivery, token) = (leased.id, leased.token);
    server.ask_one(Command::Verdict { delivery, token, verdict })?;
    if name == "revived" {
        server.ask_one(Command::Revive(at(name)))?;
        return deliver(server, "revived and done");
    }
    Ok(())
}

fn schedule(
    server: &mut Server,
    name: &str,
    after: Span,
    payload: Option<Payload>,
    priority: Option<u32>,
) -> anyhow::Result<Deadline> {
    let answer = server.ask_one(Command::Schedule(Schedule {
        payload,
        priority,
        if_exists: IfExists::Renew,
        ..Schedule::new(at(name), When::After(after))
    }))?;
    let Answer::Scheduled { created: true, deadline, .. } = answer else {
        anyhow::bail!("{name} is not scheduled: {answer:?}")
    };
    Ok(*deadline)
}

fn settle(server: &mut Server, name: &str, remember: Option<Span>) -> anyhow::Result<()> {
    let outcome = Outcome::new("paid").expect("a good outcome");
    let settle = Settle { at: at(name), outcome, remember, generation: None };
    server.ask_one(Command::Settle(settle))?;
    Ok(())
}

/// Deadlines that are to be moved together.
fn shifted(server: &mut Server) -> anyhow::Result<Vec<Deadline>> {
    let mut deadlines = Vec::new();
    for number in 1..=6 {
        let at = Address { queue: queue(SHIFTED), ..at(&format!("s{number}")) };
        let answer = server.ask_one(Command::Schedule(Schedule {
            if_exists: IfExists::Fail,
            ..Schedule::new(at, When::After(Span::from_mins(10)))
        }))?;
        let Answer::Scheduled { deadline, .. } = answer else { anyhow::bail!("{answer:?}") };
        deadlines.push(*deadline);
    }
    Ok(deadlines)
}

/// Leaves a shift half done, as a server does that goes while it moves very many.
fn begin_shift(disk: &MemoryDisk, moved: &[Deadline], at_ms: u64) -> anyhow::Result<()> {
    let nobody = FreshIdentity { id: [0; 8], hash_seed: [0; 16] };
    let directory = Directory::open(Arc::new(disk.clone()), nobody)?;
    let options = Options { segment_bytes: SMALL.segment_bytes, reserve: SMALL.reserve };
    let mut journal = journal::open(&directory, options, &mut |_| Ok(()))?;
    let [first, second, third, .., last] = moved else { anyhow::bail!("there are six") };
    let (queue, by) = (first.queue_no, Span::from_mins(5));
    let shift = Shift {
        from: first.due,
        to: last.due.plus(Span::from_mins(1)),
        by_ms: i64::try_from(by.millis())?,
        below: DeadlineId(last.id.0 + 1),
        cursor: DeadlineId(1),
        moved: 0,
    };
    let moving =
        |one: &Deadline| Fact::Moved { queue, id: one.id, due: one.due.plus(by), shifted: true };
    let facts = [
        Fact::ShiftBegun { queue, shift },
        moving(first),
        moving(second),
        Fact::ShiftAdvanced { queue, cursor: third.id, moved: 2 },
    ];
    let (mut bytes, count) = (Vec::new(), u32::try_from(facts.len())?);
    for fact in facts {
        record::write(&mut bytes, fact);
    }
    let placer = &mut journal.placer;
    ensure!(!placer.needs_roll(bytes.len()), "another seed leaves room for it");
    let record = placer.place(Kind::Facts, placer.next_seq(), count, at_ms, bytes);
    journal.writer.write(record)?;
    journal.writer.sync()?;
    Ok(())
}

/// Every file of the directory; of the spares only those that were used before.
fn write_files(disk: &MemoryDisk, into: &Path) -> anyhow::Result<()> {
    let mut names = vec!["identity".to_owned()];
    names.extend(disk.list("journal")?.into_iter().map(|name| format!("journal/{name}")));
    for name in names {
        let bytes = disk.contents(&name).context("it was just listed")?;
        let is_spare = name.strip_suffix("spare").is_some();
        if !is_spare || bytes.starts_with(b"duly-seg") {
            fs::write(into.join(name), bytes)?;
        }
    }
    Ok(())
}

/// Everything that can be asked; what changes something comes last.
fn questions(keys: &[Address]) -> Vec<String> {
    let mut questions = vec!["GET /v1/clock".to_owned(), "GET /v1/stats".to_owned()];
    for name in QUEUES.iter().copied().chain([BY_HAND, SHIFTED, "all-of-a-webhook"]) {
        questions.push(format!("GET /v1/queues/{name}"));
        questions.push(format!("GET /v1/queues/{name}/deadlines?limit=1000"));
    }
    let path =
        |at: &Address| format!("/v1/queues/{}/deadlines/{}", at.queue, escaped(at.key.as_str()));
    questions.extend(keys.iter().map(|at| format!("GET {}", path(at))));
    questions.push("GET /v1/forecast".to_owned());
    questions.push(format!("PUT {}", path(&at("remembered"))));
    questions
}

fn at(name: &str) -> Address {
    Address { queue: queue(BY_HAND), key: Key::new(name).expect("a good key") }
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a good name")
}
