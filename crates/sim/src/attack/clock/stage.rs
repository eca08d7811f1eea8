//! A server whose wall clock is in our hands, and what must hold whatever is done to it.
//!
//! The server runs under libfaketime, which puts itself between a program and the C library: a file
//! holds the distance of the wall clock from the real one, and a new file in its place is a clock
//! that was set. It moves the wall clock only. The boot clock stays real because the server asks the
//! kernel for it without the C library, and the clock of waits is left alone by
//! `FAKETIME_DONT_FAKE_MONOTONIC`. So what is faked here is what an administrator or a time server
//! can do to a machine; a sleep of the whole machine, in which the boot clock moves along, cannot be
//! faked this way, and nor can the kernel's word that the clock was set.
//!
//! Everything the server says passes through here and is held against these rules: journal time
//! never goes back; while the clock is trusted it is the wall clock's, or stands still because it is
//! ahead of it; under the guard it moves exactly as real time does; no deadline has lapsed before
//! it was due; what happened to a deadline stays so; and none is missing. Times are the server's
//! own: nothing is judged by how long something took here. What is pending is asked about over the
//! Redis protocol as well, whose commands tell and compare times.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::moment::wall_ms;
use super::super::oracle::instant;
use super::super::resp::{Conversation, Said};
use super::super::server::{Segments, Server, Setup};
use super::super::wire::Connection;

/// The queue that all deadlines are in.
const QUEUE: &str = "orders";
/// How long anything may take here before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked whether it has happened.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A step of the wall clock that is believed, and leaves room for what passes meanwhile.
pub(super) const SMALL_STEP_MS: u64 = 55_000;
/// Readings are cut to milliseconds, here and there.
const ROUNDING_MS: u64 = 2;

/// The server's clock as it shows it.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// Journal time.
    pub(super) now: u64,
    pub(super) wall: u64,
    pub(super) guard: Option<String>,
    pub(super) recovery_until: u64,
}

/// A reading, and when it was taken at the earliest and at the latest.
struct Read {
    clock: Clock,
    asked: Instant,
    told: Instant,
}

/// What the server said about itself when it began to serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) at: u64,
    pub(super) recovery_ms: u64,
}

/// The server, its clock, and all that is known of both.
pub(super) struct Stage {
    setup: Setup,
    serving: Option<(Server, Connection)>,
    /// The file that holds the distance.
    distance: PathBuf,
    distance_ms: i64,
    /// The latest journal time that was told.
    latest: u64,
    /// The last reading while this process and this distance lasted.
    last: Option<Read>,
    /// Every deadline by its key, as it was shown last.
    known: BTreeMap<String, Value>,
    seen: Seen,
}

/// What came of a case.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) operations: u64,
    pub(super) checks: u64,
    pub(super) wrong: Vec<String>,
}

impl Stage {
    /// A server on an empty directory, with its wall clock at this distance from the real one.
    pub(super) fn open(
        binary: &Path,
        folder: &Path,
        library: &str,
        distance_ms: i64,
    ) -> anyhow::Result<Stage> {
        let distance = folder.join("distance");
        let through = [
            "env".to_owned(),
            format!("LD_PRELOAD={library}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", distance.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        let mut stage = Stage {
            setup: Setup {
                binary: binary.to_owned(),
                folder: folder.to_owned(),
                data: folder.join("data"),
                segments: Segments::Small,
                through: through.to_vec(),
            },
            serving: None,
            distance,
            distance_ms: 0,
            latest: 0,
            last: None,
            known: BTreeMap::new(),
            seen: Seen::default(),
        };
        stage.set_distance(distance_ms)?;
        stage.start()?;
        stage.ask("PUT", "", &json!({ "target": "pull" }))?;
        Ok(stage)
    }

    // The process.

    /// `kill -9`, if it runs.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.last = None;
        match self.serving.take() {
            Some((server, _)) => server.kill(),
            None => Ok(()),
        }
    }

    /// Starts it on what the last one left.
    pub(super) fn start(&mut self) -> anyhow::Result<Opened> {
        let server = self.setup.start()?;
        let connection = server.connect()?;
        self.serving = Some((server, connection));
        let log = self.log()?;
        let line = log.lines().rev().find(|line| line.contains(" opened at_ms="));
        let figure = |name: &str| {
            let line = line.unwrap_or_default();
            let value = line.split(&format!("{name}=")).nth(1)?.split(' ').next()?;
            value.trim().parse().ok()
        };
        let opened = figure("at_ms").zip(figure("recovery_ms"));
        let (at, recovery_ms) = opened.context("the server does not say when it opened")?;
        self.check(at >= self.latest, || format!("it opened at {at}, before what it had told"));
        self.latest = self.latest.max(at);
        Ok(Opened { at, recovery_ms })
    }

    /// Stops it, or lets it go on.
    pub(super) fn signal(&mut self, signal: Signal) {
        if let Some((server, _)) = &self.serving {
            server.signal(signal);
        }
    }

    /// Its log, from its first start on.
    fn log(&self) -> anyhow::Result<String> {
        self.serving.as_ref().context("the server does not run")?.0.log_text()
    }

    // Its wall clock.

    /// Moves the wall clock.
    pub(super) fn step(&mut self, by_ms: i64) -> anyhow::Result<()> {
        self.set_distance(self.distance_ms + by_ms)
    }

    /// Where the wall clock is.
    pub(super) fn wall(&self) -> u64 {
        wall_ms().saturating_add_signed(self.distance_ms)
    }

    /// Brings the wall clock to journal time.
    pub(super) fn put_right(&mut self) -> anyhow::Result<()> {
        let clock = self.clock()?;
        let by = i128::from(clock.now) - i128::from(clock.wall);
        self.step(i64::try_from(by).context("the distance is too far")?)
    }

    /// Moves the wall clock ahead to this time in steps that are believed.
    pub(super) fn walk_to(&mut self, time: u64) -> anyhow::Result<()> {
        loop {
            let clock = self.clock()?;
            let left = time.saturating_sub(clock.wall).min(SMALL_STEP_MS);
            if left == 0 {
                return Ok(());
            }
            self.step(i64::try_from(left).expect("it is a small step"))?;
        }
    }

    fn set_distance(&mut self, distance_ms: i64) -> anyhow::Result<()> {
        let sign = if distance_ms < 0 { '-' } else { '+' };
        let (seconds, millis) =
            (distance_ms.unsigned_abs() / 1_000, distance_ms.unsigned_abs() % 1_000);
        let new = self.distance.with_extension("new");
        fs::write(&new, format!("{sign}{seconds}.{millis:03}\n"))?;
        // In one go: the server reads it whenever it wants to know the time.
        fs::rename(&new, &self.distance).context("cannot set the clock")?;
        self.distance_ms = distance_ms;
        self.last = None;
        Ok(())
    }

    // Asking.

    /// Reads its clock, and holds it against the rules.
    pub(super) fn clock(&mut self) -> anyhow::Result<Clock> {
        let asked = Instant::now();
        let answer = self.ask_path("GET", "/v1/clock", &Value::Null)?;
        let told = Instant::now();
        let clock = clock_of(&answer.1)?;
        self.judge(&clock, asked, told);
        self.last = Some(Read { clock: clock.clone(), asked, told });
        Ok(clock)
    }

    /// The operator's word that the wall clock is right; what was answered.
    pub(super) fn confirm(&mut self) -> anyhow::Result<u16> {
        self.last = None;
        Ok(self.ask_path("POST", "/v1/clock/confirm", &Value::Null)?.0)
    }

    /// Schedules a deadline; when it was written.
    pub(super) fn schedule(&mut self, key: &str, after_ms: u64) -> anyhow::Result<u64> {
        let body = json!({ "after": format!("{after_ms}ms") });
        let (status, answer) = self.ask("PUT", &format!("/deadlines/{key}"), &body)?;
        ensure!(status == 201, "schedule {key}: {answer}");
        self.learn(key, &answer["deadline"])
    }

    /// A settle that must win.
    pub(super) fn settle_wins(&mut self, key: &str) -> anyhow::Result<()> {
        let body = json!({ "outcome": "paid" });
        let (_, answer) = self.ask("POST", &format!("/deadlines/{key}/settle"), &body)?;
        self.check(answer["result"] == "settled", || {
            format!("a settle of {key} did not win: {answer}")
        });
        self.learn(key, &answer["deadline"])?;
        Ok(())
    }

    /// Reads a deadline.
    pub(super) fn read(&mut self, key: &str) -> anyhow::Result<Value> {
        let (status, answer) = self.ask("GET", &format!("/deadlines/{key}"), &Value::Null)?;
        self.check(status == 200, || format!("{key} is lost: {answer}"));
        if status == 200 {
            self.learn(key, &answer["deadline"])?;
        }
        Ok(answer["deadline"].clone())
    }

    /// Nothing has happened to it, however long it is due.
    pub(super) fn is_pending(&mut self, key: &str) -> anyhow::Result<()> {
        let record = self.read(key)?;
        self.check(record["state"] == "pending", || format!("{key} should be pending: {record}"));
        self.is_told_by_journal_time(key)
    }

    /// What Redis's commands tell and compare goes by journal time as well.
    fn is_told_by_journal_time(&mut self, key: &str) -> anyhow::Result<()> {
        let due = self.due(key)?;
        let (server, _) = self.serving.as_ref().context("the server does not run")?;
        let mut conversation = Conversation::open(server.doors().redis)?;
        let name = format!("{QUEUE}:{key}");
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let asked = [words(&["TIME"]), words(&["PTTL", &name]), words(&["TIME"])];
        let said = conversation.say_all(&asked)?;
        let (from, to) = (time(&said[0])?, time(&said[2])?);
        let left = due.saturating_sub(to)..=due.saturating_sub(from);
        let told = if let Said::Integer(ms) = said[1] { u64::try_from(ms).ok() } else { None };
        let latest = self.latest;
        self.check(from >= latest && to >= from, || {
            format!("TIME went back from {latest}: {said:?}")
        });
        self.check(told.is_some_and(|told| left.contains(&told)), || {
            format!("{key}, due at {due}, has {left:?} ms left: {said:?}")
        });
        self.latest = self.latest.max(to);
        self.seen.operations += 3;
        // Half of what is left is not later, as long as time does not run through the other half.
        if *left.start() > millis(PATIENCE) {
            let half = (left.start() / 2).to_string();
            let moved = conversation.say(&words(&["PEXPIRE", &name, &half, "GT"]))?;
            self.check(moved == Said::Integer(0), || format!("{key} was moved to be due earlier"));
            self.seen.operations += 1;
        }
        Ok(())
    }

    /// When a deadline is due, as it was shown last.
    pub(super) fn due(&self, key: &str) -> anyhow::Result<u64> {
        instant(&self.known[key]["due"]).context("a deadline has no due time")
    }

    /// Looks at the clock until journal time is beyond this.
    pub(super) fn wait_until(&mut self, time: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.clock()?.now <= time {
            ensure!(begun.elapsed() < PATIENCE, "time stands still, for twenty seconds");
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// A worker that waits for the next lapse. It asks nothing meanwhile: what wakes the server then
    /// is the server's own.
    pub(super) fn worker(&self) -> anyhow::Result<Worker> {
        let (server, _) = self.serving.as_ref().context("the server does not run")?;
        let mut connection = server.connect()?;
        Ok(Worker(thread::spawn(move || {
            let body = json!({ "max": 100, "wait": "20s", "lease": "1h" }).to_string();
            let answer = connection.ask("POST", &format!("/v1/queues/{QUEUE}/lease"), &body)?;
            let handed = answer.json()["deliveries"].as_array().cloned().unwrap_or_default();
            Ok(handed.iter().filter_map(|one| Some(one["key"].as_str()?.to_owned())).collect())
        })))
    }

    /// These lapse, by the worker's account and their own, not before `from`, and in this order.
    pub(super) fn lapse(&mut self, worker: Worker, keys: &[&str], from: u64) -> anyhow::Result<()> {
        let mut before = from;
        for (key, at) in keys.iter().zip(self.lapsed(worker, keys)?) {
            self.check(at >= before, || format!("{key} lapsed at {at}, before {before}"));
            before = at;
        }
        Ok(())
    }

    /// These lapse, by the worker's account and their own; when each did.
    pub(super) fn lapsed(&mut self, worker: Worker, keys: &[&str]) -> anyhow::Result<Vec<u64>> {
        let mut handed = worker.end()?;
        let is_missing =
            |handed: &[String]| keys.iter().any(|key| !handed.iter().any(|one| one == key));
        while is_missing(&handed) {
            let more = self.worker()?.end()?;
            if more.is_empty() {
                break;
            }
            handed.extend(more);
        }
        self.check(!is_missing(&handed), || format!("of {keys:?} only {handed:?} lapsed"));
        let mut times = Vec::new();
        for key in keys {
            let record = self.read(key)?;
            let at = instant(&record["lapsed_at"]);
            self.check(at.is_some(), || format!("{key} should have lapsed: {record}"));
            times.push(at.unwrap_or(0));
        }
        Ok(times)
    }

    /// Alarms: the guard is up, or down, in the figures.
    pub(super) fn guard_is(&mut self, reason: Option<&str>) -> anyhow::Result<Clock> {
        let clock = self.clock()?;
        self.check(clock.guard.as_deref() == reason, || {
            format!("the guard should be {reason:?}: {clock:?}")
        });
        let figures = self.figures()?;
        let line = format!("duly_clock_guard {}", u8::from(reason.is_some()));
        self.check(figures.lines().any(|known| known == line), || {
            format!("no {line} in the figures")
        });
        Ok(clock)
    }

    /// `/metrics`.
    pub(super) fn figures(&mut self) -> anyhow::Result<String> {
        let (_, connection) = self.serving.as_mut().context("the server does not run")?;
        let answer = connection.ask("GET", "/metrics", "")?;
        String::from_utf8(answer.body).context("the figures are no text")
    }

    /// The log has so many lines with these words.
    pub(super) fn log_has(&mut self, words: &str, times: usize) -> anyhow::Result<()> {
        let server = &self.serving.as_ref().context("the server does not run")?.0;
        let found = log_comes_to(server, words, times)?;
        self.check(found == times, || format!("{found} times {words:?} in the log, not {times}"));
        Ok(())
    }

    // Judging.

    /// Counts a check, and remembers what is wrong.
    pub(super) fn check(&mut self, is_so: bool, what: impl FnOnce() -> String) {
        self.seen.checks += 1;
        if !is_so {
            self.seen.wrong.push(what());
        }
    }

    /// Reads everything a last time, unless the story broke off; gives what was seen of it.
    pub(super) fn close(mut self, played: anyhow::Result<()>) -> Seen {
        if let Err(why) = played.and_then(|()| self.read_all()) {
            self.seen.wrong.push(format!("it broke off: {why:#}"));
        }
        self.seen
    }

    fn read_all(&mut self) -> anyhow::Result<()> {
        let keys: Vec<String> = self.known.keys().cloned().collect();
        for key in &keys {
            self.read(key)?;
        }
        let (_, listed) = self.ask("GET", "/deadlines?limit=1000", &Value::Null)?;
        let listed = listed["deadlines"].as_array().map_or(0, Vec::len);
        self.check(listed == keys.len(), || format!("{listed} deadlines, not {}", keys.len()));
        self.log_has("nothing moves", 0)?;
        self.kill()
    }

    fn judge(&mut self, clock: &Clock, asked: Instant, told: Instant) {
        let latest = self.latest;
        self.check(clock.now >= latest, || {
            format!("journal time went back from {latest}: {clock:?}")
        });
        self.latest = self.latest.max(clock.now);
        let last = self.last.take();
        let Some(Read { clock: last, asked: last_asked, told: last_told }) = last else { return };
        let passed = clock.now.saturating_sub(last.now);
        match (&last.guard, &clock.guard) {
            (None, None) => {
                self.check(clock.now >= clock.wall, || {
                    format!("journal time is behind: {clock:?}")
                });
                let ahead = clock.now > clock.wall && last.now > last.wall;
                self.check(!ahead || passed == 0, || {
                    format!("ahead of the wall clock it should stand still: {last:?}, {clock:?}")
                });
            }
            (Some(_), Some(_)) => {
                let to = millis(told - last_asked) + ROUNDING_MS;
                let from = millis(asked - last_told).saturating_sub(ROUNDING_MS);
                self.check((from..=to).contains(&passed), || {
                    format!("under the guard {passed} ms, not {from} to {to}: {last:?}, {clock:?}")
                });
            }
            // It has just gone up or down.
            _ => {}
        }
    }

    /// Holds a record against what was known of it; gives the time of what happened to it last.
    fn learn(&mut self, key: &str, record: &Value) -> anyhow::Result<u64> {
        let events = record["timeline"].as_array().context("a record has no timeline")?;
        let times: Vec<u64> = events.iter().filter_map(|event| instant(&event["at"])).collect();
        self.check(times.is_sorted() && times.len() == events.len() && !times.is_empty(), || {
            format!("the timeline of {key} goes back: {record}")
        });
        let due = instant(&record["due"]).context("a record has no due time")?;
        if record["state"] == "lapsed" {
            let at = instant(&record["lapsed_at"]);
            self.check(at.is_some_and(|at| at >= due), || format!("{key} lapsed early: {record}"));
        }
        let last = times.last().copied().unwrap_or(0);
        let latest = self.latest;
        let known = self.known.insert(key.to_owned(), record.clone());
        if let Some(known) = known {
            let before = known["timeline"].as_array().map_or(&[][..], Vec::as_slice);
            self.check(events.starts_with(before), || {
                format!("the past of {key} changed: {known}, now {record}")
            });
            let is_final = known["state"] != "pending";
            self.check(!is_final || known["state"] == record["state"], || {
                format!("{key} was decided and is not any more: {known}, now {record}")
            });
        } else {
            self.check(last >= latest, || {
                format!("{key} was scheduled at {last}, after {latest} had been told")
            });
        }
        self.latest = self.latest.max(last);
        Ok(last)
    }

    fn ask(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.ask_path(method, &format!("/v1/queues/{QUEUE}{path}"), body)
    }

    fn ask_path(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.seen.operations += 1;
        let (_, connection) = self.serving.as_mut().context("the server does not run")?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer =
            connection.ask(method, path, &body).with_context(|| format!("{method} {path}"))?;
        Ok((answer.status, answer.json()))
    }
}

/// How often these words are in the log; a line that is still on its way is waited for.
pub(super) fn log_comes_to(server: &Server, words: &str, times: usize) -> anyhow::Result<usize> {
    let begun = Instant::now();
    loop {
        let found = server.log_text()?.matches(words).count();
        if found >= times || begun.elapsed() > PATIENCE {
            return Ok(found);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A worker that waits for the next lapse.
pub(super) struct Worker(JoinHandle<std::io::Result<Vec<String>>>);

impl Worker {
    /// The keys of what it was handed.
    fn end(self) -> anyhow::Result<Vec<String>> {
        let handed = self.0.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        handed.context("a worker was not answered")
    }
}

fn clock_of(answer: &Value) -> anyhow::Result<Clock> {
    let shown = &answer["clock"];
    let time = |name: &str| instant(&shown[name]).with_context(|| format!("no {name}: {answer}"));
    Ok(Clock {
        now: time("now")?,
        wall: time("wall")?,
        guard: shown["guard"].as_str().map(str::to_owned),
        recovery_until: time("recovery_until")?,
    })
}

/// What `TIME` says, in milliseconds.
fn time(said: &Said) -> anyhow::Result<u64> {
    let Said::List(parts) = said else { bail!("TIME is answered {said:?}") };
    let number = |part: &Said| match part {
        Said::Bytes(digits) => str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    match parts.as_slice() {
        [seconds, micros] => {
            let both = number(seconds).zip(number(micros)).context("TIME has numbers")?;
            Ok(both.0 * 1_000 + both.1 / 1_000)
        }
        _ => bail!("TIME is answered {said:?}"),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
