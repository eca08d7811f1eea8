//! Scenarios in plain text: `scripts/*.script`, one behaviour a file, named as a sentence.
//!
//! A scenario is blocks of commands, a line `---`, and what must come of them, up to an empty line.
//! `#` begins a comment. Time stands still between commands unless one moves it. When a scenario
//! gives something else than it says, the difference is shown; with `DULY_SCRIPTS=rewrite` in the
//! environment the file is rewritten, to be read by whoever changed the rules.
//!
//! After every block the journal is replayed into a second engine, which must hold the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use duly_engine::Storage;
use duly_engine::answer::{Answer, Leased};
use duly_engine::command::Command;
use duly_engine::fact::Fact;
use duly_engine::id::{DeadlineId, QueueName, QueueNo};
use duly_engine::limits::Limits;
use duly_engine::time::Span;

use crate::show;
use crate::words::{self, Words, instant, span};
use crate::world::{Happened, World};

/// Fewer scenarios than this, and somebody has lost some.
const SCRIPTS: usize = 60;
/// Lines of one kind shown before they are summed up.
const SHOWN: usize = 12;

#[test]
fn every_scenario_gives_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = fs::read_dir(&folder).expect("the scenarios are beside the tests");
    let mut paths: Vec<_> = files.map(|file| file.expect("a folder can be read").path()).collect();
    paths.sort();
    let rewrite = rewrites();
    let mut wrong = Vec::new();
    let mut lines = 0;
    for path in &paths {
        let said = fs::read_to_string(path).expect("a scenario is text");
        let name = path.file_stem().expect("a scenario has a name").to_string_lossy();
        let given = play(&name, &said);
        lines += given.lines().count();
        if given == said {
            continue;
        }
        if rewrite {
            fs::write(path, given).expect("a scenario can be rewritten");
        } else {
            wrong.push(format!("{name}\n{}", difference(&said, &given)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(paths.len() >= SCRIPTS, "only {} scenarios", paths.len());
    report(&format!("{} scenarios, {lines} lines", paths.len()));
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch, not a limit of the engine")]
fn rewrites() -> bool {
    std::env::var("DULY_SCRIPTS").is_ok_and(|word| word == "rewrite")
}

/// Says how much a suite did.
#[expect(clippy::print_stdout, reason = "a test reports to whoever runs it")]
pub(crate) fn report(line: &str) {
    println!("{line}");
}

/// Plays a scenario; gives it back with what came of it.
fn play(name: &str, said: &str) -> String {
    let mut given = String::new();
    let mut stage = Stage {
        name,
        world: None,
        limits: Limits::default(),
        leased: Vec::new(),
        queues: BTreeMap::new(),
        names: BTreeMap::new(),
    };
    let mut lines: Vec<String> = Vec::new();
    let mut told = false;
    for line in said.lines().chain([""]) {
        match (line, told) {
            ("---", _) => {
                told = true;
                given += "---\n";
                for line in lines.drain(..) {
                    given += &line;
                    given.push('\n');
                }
                stage.world().check_replay();
            }
            ("", _) => {
                assert!(lines.is_empty(), "{name}: commands without what comes of them");
                told = false;
                given.push('\n');
            }
            (_, true) => {}
            (line, false) => {
                given += line;
                given.push('\n');
                let command = line.split_once(" # ").map_or(line, |(command, _)| command).trim();
                if !command.starts_with('#') && !command.is_empty() {
                    lines.extend(stage.act(command));
                }
            }
        }
    }
    let end = given.trim_end().len();
    given.truncate(end);
    given.push('\n');
    given
}

/// Where a scenario is played.
struct Stage<'a> {
    name: &'a str,
    world: Option<World>,
    limits: Limits,
    /// Every delivery handed out so far: `#1` is the first.
    leased: Vec<Leased>,
    queues: BTreeMap<QueueNo, String>,
    names: BTreeMap<DeadlineId, String>,
}

impl Stage<'_> {
    fn world(&mut self) -> &mut World {
        self.world.get_or_insert_with(|| World::new(self.limits.clone()))
    }

    /// Does one line; gives what came of it.
    fn act(&mut self, line: &str) -> Vec<String> {
        if line.starts_with("limits ") {
            self.limit(line);
            return Vec::new();
        }
        if let Some(rest) = line.strip_prefix("many ") {
            return self.many(rest);
        }
        let (line, once) = line.strip_prefix("once ").map_or((line, false), |line| (line, true));
        let commands: Option<Vec<Command>> =
            line.split(" ; ").map(|line| self.command(line.trim())).collect();
        if let Some(commands) = commands {
            let shows_story = line.starts_with("story ");
            let happened = self.world().step(commands);
            let mut lines = self.show(&happened, shows_story);
            // `once`: a single step, whatever is left to be done.
            let more = if once { Vec::new() } else { self.world().settle_down() };
            lines.extend(more.iter().flat_map(|happened| self.show(happened, false)));
            return summed_up(lines);
        }
        let happened = self.turn_the_world(line);
        let lines: Vec<String> =
            happened.iter().flat_map(|happened| self.show(happened, false)).collect();
        summed_up(lines)
    }

    fn command(&mut self, line: &str) -> Option<Command> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = Words::of(rest);
        let world = self.world.get_or_insert_with(|| World::new(self.limits.clone()));
        let policy = |queue: QueueName| world.policy(queue).unwrap_or_default();
        let command = words::command(verb, &mut words, &self.leased, policy)?;
        words.end();
        Some(command)
    }

    /// `many 5000 schedule orders/{} after=1m`: numbered, a thousand in a step, summed up.
    fn many(&mut self, rest: &str) -> Vec<String> {
        let (number, line) = rest.split_once(' ').expect("many N COMMAND");
        let number: u32 = number.parse().expect("many has a number");
        let lines: Vec<String> = (1..=number).map(|n| line.replace("{}", &n.to_string())).collect();
        let mut shown = Vec::new();
        for lines in lines.chunks(1_000) {
            let commands =
                lines.iter().map(|line| self.command(line).expect("a command")).collect();
            let happened = self.world().step(commands);
            shown.extend(self.show(&happened, false));
        }
        let more = self.world().settle_down();
        shown.extend(more.iter().flat_map(|happened| self.show(happened, false)));
        summed_up(shown)
    }

    fn limit(&mut self, line: &str) {
        assert!(self.world.is_none(), "{}: limits come first", self.name);
        let mut words = Words::of(line);
        words.next();
        if let Some(most) = words.number("max_deadlines") {
            self.limits.max_deadlines = most;
        }
        if let Some(most) = words.number("max_attempts") {
            self.limits.max_attempts_under_way = most;
        }
        if words.has("no_auto_create") {
            self.limits.auto_create_queues = false;
        }
        words.end();
    }

    /// What no command does: time, clocks, disks, restarts.
    fn turn_the_world(&mut self, line: &str) -> Vec<Happened> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = Words::of(rest);
        let world = self.world.get_or_insert_with(|| World::new(self.limits.clone()));
        let happened = match verb {
            "tick" => world.run(span(words.next())),
            "at" => {
                let wait = instant(words.next()).since(world.wall);
                world.run(wait)
            }
            // The machine sleeps: both clocks run, nobody steps.
            "suspend" if world.busy => {
                world.pass(span(words.next()));
                Vec::new()
            }
            "suspend" => {
                world.pass(span(words.next()));
                let mut all = vec![world.step(Vec::new())];
                all.extend(world.settle_down());
                all
            }
            "jump" => {
                let by = words.next();
                let size = span(by.trim_start_matches(['+', '-']));
                let back = by.starts_with('-');
                world.wall = if back { world.wall.minus(size) } else { world.wall.plus(size) };
                let mut all = vec![world.step(Vec::new())];
                all.extend(world.settle_down());
                all
            }
            "restart" => {
                let jump = words.get("jump").unwrap_or("+0s");
                let size = span(jump.trim_start_matches(['+', '-']));
                let back = jump.starts_with('-');
                world.wall = if back { world.wall.minus(size) } else { world.wall.plus(size) };
                world.restart(words.span("after").unwrap_or(Span::ZERO))
            }
            "storage" => {
                world.storage = match words.next() {
                    "plenty" => Storage::Plenty,
                    "low" => Storage::Low,
                    "full" => Storage::Full,
                    "gone" => Storage::Gone,
                    other => panic!("storage {other}"),
                };
                let mut all = vec![world.step(Vec::new())];
                all.extend(world.settle_down());
                all
            }
            // Commands come before any due work, as with a long backlog.
            "busy" | "idle" => {
                world.busy = verb == "busy";
                Vec::new()
            }
            "evict" => {
                world.evict();
                Vec::new()
            }
            "archive" => {
                match words.next() {
                    "lags" => world.archive_lags(true),
                    "catches-up" => world.archive_lags(false),
                    "forgets" => world.archive_forgets(),
                    other => panic!("archive {other}"),
                }
                Vec::new()
            }
            "clean" => {
                world.clean();
                Vec::new()
            }
            other => panic!("{}: nobody knows how to {other}", self.name),
        };
        words.end();
        happened
    }

    /// What happened in a step, in the order it did.
    fn show(&mut self, happened: &Happened, with_story: bool) -> Vec<String> {
        for fact in happened.due.iter().chain(&happened.decided) {
            if let Fact::QueueSet { queue, name, .. } = fact {
                self.queues.insert(*queue, name.to_string());
            }
            if let Fact::Scheduled { queue, id, key, .. } = fact {
                let queue = self.queues.get(queue).map_or("?", String::as_str);
                self.names.insert(*id, format!("{queue}/{key}"));
            }
        }
        let Some(world) = &mut self.world else { return Vec::new() };
        let at = show::time(happened.at);
        let stamped = |line: String| format!("{at} {line}");
        let mut lines = Vec::new();
        let due = happened.due.iter().filter_map(|fact| show::fact(fact, &self.names));
        lines.extend(due.map(stamped));
        let lapses = happened.decided.iter().filter(|fact| matches!(fact, Fact::Lapsed { .. }));
        lines.extend(lapses.filter_map(|fact| show::fact(fact, &self.names)).map(stamped));
        for answer in &happened.answers {
            lines.extend(show::answer(answer, world, &mut self.leased));
            if let (Answer::Deadline(deadline), true) = (answer, with_story) {
                lines.extend(show::story(deadline));
            }
        }
        let handed = happened.handed_out.iter().filter_map(|fact| show::fact(fact, &self.names));
        lines.extend(handed.map(stamped));
        for effect in &happened.effects {
            let shown = show::effect(effect, world, &mut self.leased);
            lines.extend(
                shown.into_iter().map(
                    |line| {
                        if line.starts_with(' ') { line } else { stamped(line) }
                    },
                ),
            );
        }
        lines
    }
}

/// Many lines of one kind become one: the first, the last, and how many.
fn summed_up(lines: Vec<String>) -> Vec<String> {
    if lines.len() <= SHOWN {
        return lines;
    }
    // A kind is a line without its numbers.
    let kind = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let mut short: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        let kind = kind(&line);
        match short.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, same)) => same.push(line),
            None => short.push((kind, vec![line])),
        }
    }
    let told = short.into_iter().flat_map(|(_, same)| match same.as_slice() {
        [first, .., last] if same.len() > 2 => {
            vec![first.clone(), format!("… {} in all", same.len()), last.clone()]
        }
        _ => same,
    });
    told.collect()
}

/// What is said and what is given, from the first line that differs to the last.
fn difference(said: &str, given: &str) -> String {
    let (said, given): (Vec<&str>, Vec<&str>) = (said.lines().collect(), given.lines().collect());
    let same = said.iter().zip(&given).take_while(|(said, given)| said == given).count();
    let rest = said.len().min(given.len()) - same;
    let backwards = said.iter().rev().zip(given.iter().rev());
    let tail = backwards.take(rest).take_while(|(said, given)| said == given).count();
    let gone = said[same..said.len() - tail].iter().map(|line| format!("  - {line}"));
    let come = given[same..given.len() - tail].iter().map(|line| format!("  + {line}"));
    let told = [format!("  at line {}", same + 1)].into_iter().chain(gone).chain(come);
    told.collect::<Vec<String>>().join("\n")
}
