//! What the watchdog must see, and what it must not: a thread of the server held in a system call,
//! and the whole server stopped and continued.
//!
//! A thread is held by strace, which makes its next call of one kind wait before the kernel gets it.
//! Nothing but that thread is traced.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::super::server::{Segments, Server, Setup};
use super::super::wire::Answer;
use super::kernel::Thread;
use super::stage::log_comes_to;
use crate::counters::Counters;

/// A thread, the call in which it is held, and what the watchdog calls that.
const HELD: [(&str, &str, &str); 2] =
    [("duly-journal", "fdatasync", "journal"), ("duly-driver", "futex", "driver")];
/// How many stalls a run has.
pub(super) const STALLS: u64 = HELD.len() as u64;
/// The watchdog takes ten seconds and a little.
const HOLD: Duration = Duration::from_secs(18);
/// Longer than the watchdog would wait, if it counted the time.
const STOP: Duration = Duration::from_secs(15);
/// So long after a stop is looked whether there was an alarm: for several of the watchdog's looks.
const AFTERWARDS: Duration = Duration::from_secs(4);
/// How long anything may take here before it counts as never.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often is looked whether it has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// All of it, at the same time: nearly all of it is waiting.
pub(super) fn run(binary: &Path, folder: &Path) -> Counters {
    let mut parts: Vec<JoinHandle<anyhow::Result<Counters>>> = Vec::new();
    for (thread, call, reason) in HELD {
        let setup = setup(binary, &folder.join(reason));
        parts.push(thread::spawn(move || held(&setup, thread, call, reason)));
    }
    let setup = setup(binary, &folder.join("stopped"));
    parts.push(thread::spawn(move || stopped(&setup)));
    let mut counters = Counters::new("attack clock");
    for part in parts {
        match part.join() {
            Ok(Ok(part)) => counters.take_in(&part),
            Ok(Err(why)) => counters.violation(&format!("the watchdog: {why:#}")),
            Err(_) => counters.violation("the watchdog's part panicked"),
        }
    }
    counters
}

fn setup(binary: &Path, folder: &Path) -> Setup {
    Setup {
        binary: binary.to_owned(),
        folder: folder.to_owned(),
        data: folder.join("data"),
        segments: Segments::Small,
        through: Vec::new(),
    }
}

/// A thread is held: the alarm comes, can be seen from outside, and goes.
fn held(setup: &Setup, thread: &str, call: &str, reason: &str) -> anyhow::Result<Counters> {
    let mut counters = Counters::new("attack clock");
    fs::create_dir_all(&setup.folder)?;
    let server = setup.start()?;
    schedule(&server, "before", "1h")?;
    let thread = Thread::named(server.id(), thread)?;
    let _tracer = Tracer::hold(&thread, call)?;
    let mut connection = server.connect()?;
    let asking =
        thread::spawn(move || connection.ask("PUT", &path("meanwhile"), r#"{"after":"1h"}"#));
    let alarm = wait_ready(&server, 503)?.json();
    let detail = alarm["detail"].as_str().unwrap_or_default();
    if alarm["code"] != "stalled" || !detail.starts_with(&format!("{reason}: ")) {
        counters.violation(&format!("{reason} stands still, and the alarm is {alarm}"));
    }
    let figures = String::from_utf8(ask(&server, "/metrics")?.body).context("no text")?;
    if !figures.lines().any(|line| line == "duly_stalled 1") {
        counters.violation(&format!("{reason} stands still, and the figures do not show it"));
    }
    wait_ready(&server, 200)?;
    let answer = asking.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    if answer.status != 201 {
        counters.violation(&format!("what was asked meanwhile: {}", answer.json()));
    }
    for words in ["nothing moves", "moves again"] {
        let times = log_comes_to(&server, words, 1)?;
        if times != 1 {
            counters.violation(&format!("{reason}: {times} times {words:?} in the log"));
        }
    }
    counters.add("stalls_told", 1);
    server.kill()?;
    Ok(counters)
}

/// The whole server is stopped while something falls due: no alarm, and it is caught up.
fn stopped(setup: &Setup) -> anyhow::Result<Counters> {
    let mut counters = Counters::new("attack clock");
    fs::create_dir_all(&setup.folder)?;
    let server = setup.start()?;
    schedule(&server, "due", "1s")?;
    server.signal(Signal::STOP);
    thread::sleep(STOP);
    server.signal(Signal::CONT);
    let begun = Instant::now();
    while begun.elapsed() < AFTERWARDS {
        let answer = ask(&server, "/readyz")?;
        if answer.status != 200 {
            counters.violation(&format!("continued, and not ready: {}", answer.json()));
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    let record = ask(&server, &path("due"))?.json();
    if record["deadline"]["state"] != "lapsed" {
        counters.violation(&format!("what fell due while it was stopped: {record}"));
    }
    if server.log_text()?.contains("nothing moves") {
        counters.violation("a server that was stopped and continued raised the alarm");
    }
    counters.add("stops_survived", 1);
    server.kill()?;
    Ok(counters)
}

/// Asks until it is ready, or is not.
fn wait_ready(server: &Server, status: u16) -> anyhow::Result<Answer> {
    let begun = Instant::now();
    loop {
        let answer = ask(server, "/readyz")?;
        if answer.status == status {
            return Ok(answer);
        }
        ensure!(begun.elapsed() < PATIENCE, "/readyz does not turn {status}: {}", answer.json());
        thread::sleep(LOOK_EVERY);
    }
}

fn schedule(server: &Server, key: &str, after: &str) -> anyhow::Result<()> {
    let body = serde_json::json!({ "after": after }).to_string();
    let answer = server.connect()?.ask("PUT", &path(key), &body)?;
    let json: Value = answer.json();
    ensure!(answer.status == 201, "schedule {key}: {json}");
    Ok(())
}

fn ask(server: &Server, path: &str) -> anyhow::Result<Answer> {
    server.connect()?.ask("GET", path, "").with_context(|| format!("GET {path}"))
}

fn path(key: &str) -> String {
    format!("/v1/queues/orders/deadlines/{key}")
}

/// strace over one thread; what it held goes on when this is dropped.
struct Tracer(Child);

impl Tracer {
    /// The thread's next call of this kind takes [`HOLD`].
    fn hold(thread: &Thread, call: &str) -> anyhow::Result<Tracer> {
        let delay = HOLD.as_micros();
        let tracer = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:delay_enter={delay}:when=1")])
            .args(["-p", &thread.id.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start strace: install the package strace")?;
        let mut tracer = Tracer(tracer);
        let begun = Instant::now();
        while !thread.is_traced()? {
            let has_ended = tracer.0.try_wait()?.is_some();
            ensure!(!has_ended && begun.elapsed() < PATIENCE, "strace cannot hold a thread here");
            thread::sleep(LOOK_EVERY);
        }
        Ok(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // One that has ended needs neither.
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}
