//! Conversations in plain text: `scripts/*.script`, one behaviour a file, named as a sentence.
//!
//! `> SET orders:42 v EX 60` is what a client sends (`a> …` is one called `a`; `raw> …` are bytes as
//! they stand), `? …` is what is asked of the engine, `< …` is what the client is told. `tick 1m`
//! lets time pass, `jump 2h` sets the wall clock ahead, `meanwhile settle orders 42 paid` is what another client does as soon as the next
//! question has been answered. `#` begins a comment. A file is what is sent with all that comes of it in between; with
//! `DULY_SCRIPTS=rewrite` in the environment it is rewritten, to be read by whoever changed it.

use std::fs;
use std::path::Path;

use duly_engine::command::{Command, Settle};
use duly_engine::id::{Key, Outcome, QueueName};
use duly_engine::queue::{DecideAt, Policy, Target};
use duly_engine::time::Span;

use crate::show::read_span;
use crate::world::World;

/// Fewer conversations than this, and somebody has lost some.
const SCRIPTS: usize = 30;

#[test]
fn every_conversation_goes_as_it_says() {
    let rewrite = rewrites();
    let mut wrong = Vec::new();
    let all = all();
    let mut lines = 0;
    for (path, said) in &all {
        let given = play(said);
        lines += given.lines().count();
        if given == *said {
            continue;
        }
        if rewrite {
            fs::write(path, given).expect("a conversation can be rewritten");
        } else {
            wrong.push(format!("{path}\n{}", difference(said, &given)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.len() >= SCRIPTS, "only {} conversations", all.len());
    report(&format!("{} conversations, {lines} lines", all.len()));
}

/// All of them, with their paths.
pub(crate) fn all() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = fs::read_dir(&folder).expect("the conversations are beside the tests");
    let mut paths: Vec<_> = files.map(|file| file.expect("a folder can be read").path()).collect();
    paths.sort();
    let read = |path: &Path| {
        let said = fs::read_to_string(path).expect("a conversation is text");
        (path.display().to_string(), said)
    };
    paths.iter().map(|path| read(path)).collect()
}

fn rewrites() -> bool {
    std::env::var("DULY_SCRIPTS").is_ok_and(|word| word == "rewrite")
}

/// Says how much a suite did.
#[expect(clippy::print_stdout, reason = "a test reports to whoever runs it")]
pub(crate) fn report(line: &str) {
    println!("{line}");
}

/// What came of it?
fn is_outcome(line: &str) -> bool {
    let is_told =
        line.split_once("< ").is_some_and(|(name, _)| name.chars().all(char::is_alphabetic));
    is_told || line.starts_with("? ") || line.starts_with("… ") || line == "hangs up"
}

/// Plays a conversation; gives it back with what came of it.
fn play(said: &str) -> String {
    let mut world = World::new();
    let mut given = String::new();
    for line in said.lines().filter(|line| !is_outcome(line)) {
        given.push_str(line);
        given.push('\n');
        step(&mut world, line);
        for seen in world.seen.drain(..) {
            given.push_str(&seen);
            given.push('\n');
        }
    }
    assert!(world.meanwhile.is_empty(), "nothing was asked that something could come between");
    given
}

/// Does one line.
pub(crate) fn step(world: &mut World, line: &str) {
    if line.is_empty() || line.starts_with('#') {
        return;
    }
    if let Some((name, bytes)) = sent(line) {
        world.receive(name, &bytes);
        return;
    }
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["tick", by] => world.tick(span(by)),
        ["jump", by] => world.jump(span(by)),
        ["pause", queue] => {
            let queue = QueueName::new(queue).expect("a queue is named well");
            world.decide(vec![Command::Pause { queue, deliveries: Some(true), lapses: None }]);
        }
        ["meanwhile", "delete-queue", queue] => {
            let queue = QueueName::new(queue).expect("a queue is named well");
            world.meanwhile.push(Command::DeleteQueue(queue));
        }
        ["meanwhile", "settle", queue, key, outcome] => {
            let at = address(queue, key);
            let outcome = Outcome::new(outcome).expect("an outcome is worded well");
            let settle = Settle { at, outcome, remember: None, generation: None };
            world.meanwhile.push(Command::Settle(settle));
        }
        ["meanwhile", "schedule", queue, key, by] => {
            let when = duly_engine::command::When::After(span(by));
            let schedule = duly_engine::command::Schedule {
                if_exists: duly_engine::command::IfExists::Replace,
                ..duly_engine::command::Schedule::new(address(queue, key), when)
            };
            world.meanwhile.push(Command::Schedule(schedule));
        }
        ["meanwhile", "extend", queue, key, by] => {
            let by = duly_engine::command::ExtendBy::Span(span(by));
            let extend = duly_engine::command::Extend { at: address(queue, key), by, if_due: None };
            world.meanwhile.push(Command::Extend(extend));
        }
        ["queue", name, settings @ ..] => {
            let policy = settings.iter().fold(Policy::default(), policy);
            let queue = QueueName::new(name).expect("a queue is named well");
            let put = Command::PutQueue { queue, policy: Box::new(policy), declared: None };
            world.decide(vec![put]);
        }
        _ => panic!("nobody understands: {line}"),
    }
}

/// Who sends what.
pub(crate) fn sent(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, said) = line.split_once("> ")?;
    if !name.chars().all(char::is_alphabetic) {
        return None;
    }
    let bytes = said.replace("\\r", "\r").replace("\\n", "\n").into_bytes();
    let typed = [said.as_bytes(), b"\r\n"].concat();
    Some(if name == "raw" { ("", bytes) } else { (name, typed) })
}

fn policy(policy: Policy, setting: &&str) -> Policy {
    match setting.split_once('=').expect("a setting has a value") {
        ("target", "pull") => Policy { target: Target::Pull, ..policy },
        ("target", "none") => Policy { target: Target::None, ..policy },
        ("default_delay", by) => Policy { default_delay: Some(span(by)), ..policy },
        ("grace", by) => Policy { grace: span(by), ..policy },
        ("decide_at", "handout") => Policy { decide_at: DecideAt::Handout, ..policy },
        (name, _) => panic!("no setting: {name}"),
    }
}

fn address(queue: &str, key: &str) -> duly_engine::command::Address {
    duly_engine::command::Address {
        queue: QueueName::new(queue).expect("a queue is named well"),
        key: Key::new(key).expect("a key is named well"),
    }
}

fn span(text: &str) -> Span {
    read_span(text).unwrap_or_else(|| panic!("no span: {text}"))
}

/// The first line that differs, with its surroundings.
fn difference(said: &str, given: &str) -> String {
    let at = said.lines().zip(given.lines()).take_while(|(said, given)| said == given).count();
    let from = at.saturating_sub(2);
    let lines = |text: &str| text.lines().skip(from).take(6).collect::<Vec<_>>().join("\n    ");
    format!("line {}\n  says\n    {}\n  gives\n    {}", at + 1, lines(said), lines(given))
}
