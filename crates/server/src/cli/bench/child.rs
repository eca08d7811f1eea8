//! The server under measurement: a child process of this very program, on a directory of its own.
//!
//! It runs with the default settings and without the environment, so that the figures are those of
//! `duly serve` as it comes. When it is dropped it is killed and its directory removed: nothing of a
//! measurement stays.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::wire::{Connection, request};
use crate::clock;
use crate::config::Settings;

/// How long a start or a clearing up may take before it is given up.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often is asked whether it is ready: also the resolution of the time to be ready.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often is asked whether it has cleared up.
const REST_EVERY: Duration = Duration::from_millis(20);
/// Last lines of its log in a complaint.
const LOG_LINES: usize = 5;

/// A server of our own.
pub(super) struct Child {
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    redis: SocketAddr,
    process: process::Child,
}

/// What `/readyz` says.
#[derive(Deserialize)]
struct Ready {
    spare_segments: usize,
    archive_lag: u64,
}

impl Child {
    /// Starts a server in a new folder and waits until its reserve is allocated: zeroing files for
    /// the journal would disturb what is measured.
    pub(super) async fn start(program: &Path, folder: &Path) -> anyhow::Result<Child> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let (address, redis) = (free_address()?, free_address()?);
        let process = spawn(program, folder, [address, redis])?;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let mut child = Child { program, folder, address, redis, process };
        child.ready().await?;
        child.rest().await?;
        Ok(child)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it speaks the Redis protocol.
    pub(super) fn redis(&self) -> SocketAddr {
        self.redis
    }

    /// The number of its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it as `kill -9` does, starts it again on the same directory, and says how long it took
    /// from the start of the process until `/readyz` said yes.
    pub(super) async fn kill_and_restart(&mut self) -> anyhow::Result<Duration> {
        self.kill();
        let begun = clock::stopwatch();
        self.process = spawn(&self.program, &self.folder, [self.address, self.redis])?;
        self.ready().await?;
        Ok(begun.elapsed())
    }

    /// Waits until the archive has everything and the reserve is full again.
    pub(super) async fn rest(&self) -> anyhow::Result<()> {
        let reserve = Settings::default().journal.reserve;
        let mut connection = Connection::open(self.address).await?;
        let begun = clock::stopwatch();
        while begun.elapsed() < PATIENCE {
            let body = connection.ask_well(&request("GET", "/readyz", "")).await?;
            let now: Ready = serde_json::from_slice(body).context("what /readyz says")?;
            if now.archive_lag == 0 && now.spare_segments >= reserve {
                return Ok(());
            }
            tokio::time::sleep(REST_EVERY).await;
        }
        bail!("the server did not come to rest within {} s", PATIENCE.as_secs())
    }

    /// Waits until `/readyz` says yes.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = clock::stopwatch();
        while begun.elapsed() < PATIENCE {
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.ask_well(&request("GET", "/readyz", "")).await.is_ok()
            {
                return Ok(());
            }
            if self.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                bail!("the server ended: {}", self.last_words());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("the server was not ready within {} s: {}", PATIENCE.as_secs(), self.last_words())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(log_file(&self.folder)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("; ")
    }

    fn kill(&mut self) {
        // One that has ended already cannot be killed and need not be.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        // What cannot be removed is seen by whoever looks at the directory they named.
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

fn spawn(
    program: &Path,
    folder: &Path,
    [http, redis]: [SocketAddr; 2],
) -> anyhow::Result<process::Child> {
    let log = File::create(log_file(folder)).context("cannot write the server's log")?;
    Command::new(program)
        .args(["serve", "--http", &http.to_string(), "--redis", &redis.to_string()])
        .arg("--data")
        .arg(folder.join("data"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// An address of this machine that nobody listens on.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    listener.local_addr().context("no free port")
}
