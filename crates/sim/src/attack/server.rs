//! The product's own binary as a process: started, signalled, killed and started again.
//!
//! It listens on ports that the system picks, says in its log which ones, and takes requests from
//! then on: nothing here waits by guessing. Its segments are as small as they can be, so that the
//! journal is cleaned all the time, unless somebody wants the default ones.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::way::Doors;
use super::wire::Connection;
use crate::zoo;

/// How long a start or an end may take before it counts as never.
const PATIENCE: Duration = Duration::from_mins(1);
/// Last lines of its log in a complaint.
const LOG_LINES: usize = 12;

/// What it gets of this process's environment: what it is found by, and the bug that is let loose.
const KEPT: [&str; 2] = ["PATH", zoo::LOOSE];

/// How large the journal's segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segments {
    /// As small as they can be, and cleaned as soon as there are two.
    Small,
    /// As they are by default.
    Default,
}

/// Where a server lives, and how it is started.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) binary: PathBuf,
    /// Its configuration and its log are kept here, elsewhere than its data.
    pub(super) folder: PathBuf,
    pub(super) data: PathBuf,
    pub(super) segments: Segments,
    /// A program and its arguments that the server is started by; empty for none. It becomes the
    /// server, or stays and has the server for its only child.
    pub(super) through: Vec<String>,
}

/// A server at work.
pub(super) struct Server {
    process: Child,
    /// The process that is the server; another than `process` if that is a program that stays.
    id: Pid,
    is_wrapped: bool,
    doors: Doors,
    log: PathBuf,
}

/// A server that may not take requests yet.
pub(super) struct Launched {
    server: Server,
    found: Receiver<Doors>,
}

impl Setup {
    /// Starts the server and waits until it takes requests.
    pub(super) fn start(&self) -> anyhow::Result<Server> {
        self.launch()?.ready()
    }

    /// Starts the process.
    pub(super) fn launch(&self) -> anyhow::Result<Launched> {
        let config = self.folder.join("duly.toml");
        fs::write(&config, self.config()).context("cannot write the configuration")?;
        let mut line: Vec<&str> = self.through.iter().map(String::as_str).collect();
        line.push(path_text(&self.binary)?);
        let mut process = Command::new(line[0])
            .args(&line[1..])
            .args(["serve", "--config", path_text(&config)?])
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", line[0]))?;
        let said = process.stderr.take().expect("it is piped");
        let log = self.folder.join("server.log");
        let keep = OpenOptions::new().create(true).append(true).open(&log);
        let mut keep = keep.context("cannot write the server's log")?;
        let (tell, found) = channel();
        // Ends with the server: its end of the pipe is the last one.
        thread::spawn(move || {
            let mut redis = None;
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                writeln!(keep, "{line}").unwrap_or_default();
                redis = redis.or_else(|| address(&line, "listening redis="));
                // HTTP is the last that it says; nobody waits any more for what came too late.
                if let (Some(redis), Some(http)) = (redis, address(&line, "listening http=")) {
                    tell.send(Doors { http, redis }).unwrap_or_default();
                }
            }
        });
        let id = Pid::from_child(&process);
        let nowhere = SocketAddr::from(([0; 4], 0));
        let doors = Doors { http: nowhere, redis: nowhere };
        let is_wrapped = !self.through.is_empty();
        Ok(Launched { server: Server { process, id, is_wrapped, doors, log }, found })
    }

    /// How many segments of the journal have come and gone: they are numbered from 1.
    pub(super) fn segments_freed(&self) -> anyhow::Result<u64> {
        Ok(self.segment_numbers()?.min().unwrap_or(1) - 1)
    }

    /// The number of the segment that is written to.
    pub(super) fn last_segment(&self) -> anyhow::Result<u64> {
        self.segment_numbers()?.max().context("the journal has no segment")
    }

    /// The file of a segment.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.data.join("journal").join(format!("{number:020}.seg"))
    }

    fn segment_numbers(&self) -> anyhow::Result<impl Iterator<Item = u64>> {
        let entries = fs::read_dir(self.data.join("journal")).context("cannot list the journal")?;
        Ok(entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".seg")?.parse().ok()
        }))
    }

    fn config(&self) -> String {
        let journal = match self.segments {
            Segments::Small => "[journal]\nsegment_size = \"1MiB\"\nkeep = \"1MiB\"\n",
            Segments::Default => "",
        };
        let data = self.data.display();
        format!(
            "data = \"{data}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[redis]\nlisten = \"127.0.0.1:0\"\n{journal}"
        )
    }
}

impl Launched {
    /// Waits until it takes requests.
    pub(super) fn ready(self) -> anyhow::Result<Server> {
        let log = self.server.log.clone();
        match self.ready_or_ended()? {
            Ok(server) => Ok(server),
            Err(code) => bail!("the server ended with {code} at its start: {}", last_words(&log)),
        }
    }

    /// Waits until it takes requests, or has ended by itself: the status it ended with.
    pub(super) fn ready_or_ended(self) -> anyhow::Result<Result<Server, i32>> {
        let Launched { mut server, found } = self;
        match found.recv_timeout(PATIENCE) {
            Ok(doors) => server.doors = doors,
            Err(RecvTimeoutError::Disconnected) => return server.wait().map(Err),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the server is not ready in time: {}", last_words(&server.log));
            }
        }
        if server.is_wrapped {
            server.id = only_child(server.id).unwrap_or(server.id);
        }
        Ok(Ok(server))
    }

    /// SIGKILL, wherever in its start it is.
    pub(super) fn kill(self) -> anyhow::Result<()> {
        self.server.kill()
    }
}

impl Server {
    /// Where it listens.
    pub(super) fn doors(&self) -> Doors {
        self.doors
    }

    /// Its process.
    pub(super) fn id(&self) -> Pid {
        self.id
    }

    /// A connection to it, over HTTP.
    pub(super) fn connect(&self) -> anyhow::Result<Connection> {
        let connection = Connection::open(self.doors.http);
        connection.with_context(|| format!("cannot connect; its log: {}", last_words(&self.log)))
    }

    /// Its log, from the first start in its folder on. What it does may be heard of sooner than read
    /// here.
    pub(super) fn log_text(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.log).context("the server has no log")
    }

    /// Sends it a signal; one that has ended takes none.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.id, signal).unwrap_or_default();
    }

    /// SIGKILL: no goodbye.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.process.wait().context("the server cannot be waited for")?;
        Ok(())
    }

    /// Waits until it has ended by itself and says how, as a shell does: a signal counts from 128.
    pub(super) fn wait(mut self) -> anyhow::Result<i32> {
        let status = self.process.wait().context("the server cannot be waited for")?;
        Ok(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1))
    }

    /// Has it ended?
    pub(super) fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Server {
    /// Nothing of an attack outlives it. One that has ended cannot be killed and need not be.
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::KILL);
            self.process.kill().unwrap_or_default();
            drop(self.process.wait());
        }
    }
}

/// The address that a line of the log names after these words.
fn address(line: &str, after: &str) -> Option<SocketAddr> {
    line.split_once(after)?.1.trim().parse().ok()
}

fn only_child(of: Pid) -> Option<Pid> {
    let id = of.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    Pid::from_raw(children.trim().parse().ok()?)
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("; ")
}
