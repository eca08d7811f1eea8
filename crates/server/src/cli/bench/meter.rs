//! What a stretch of work cost, and who held it up.
//!
//! A [`Meter`] is read before and after. Processor time is taken from the kernel, syncs and journal
//! bytes from the server's own `/metrics`. The verdict on who held it up is a rule over shares of the
//! time, written down here and printed with the shares, so that a reader can disagree.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::child::Child;
use super::process;
use super::wire::{Connection, request};
use crate::clock;

/// From this share of all processors' time on, the processors are the limit.
const BUSY: f64 = 0.85;
/// From this share of the time on that a sync is under way, the disk is the limit.
const SYNCING: f64 = 0.5;

/// All counters at one moment.
pub(super) struct Meter {
    at: Instant,
    server: Duration,
    generator: Duration,
    machine: Duration,
    journal: Journal,
}

/// What the server says of its journal, since it began.
#[derive(Clone, Copy, Default)]
struct Journal {
    bytes: f64,
    syncs: f64,
    sync_seconds: f64,
}

/// The difference of two readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) wall: Duration,
    /// Processor time of the server.
    pub(super) server: Duration,
    /// Processor time of this process.
    pub(super) generator: Duration,
    /// Processor time of everybody else on the machine.
    pub(super) others: Duration,
    pub(super) journal_bytes: f64,
    pub(super) syncs: f64,
    /// How long syncs were under way.
    pub(super) syncing: Duration,
}

/// Shares of the time, and what follows from them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Of all processors' time.
    pub(super) server: f64,
    pub(super) generator: f64,
    pub(super) others: f64,
    /// Of the time.
    pub(super) syncing: f64,
}

impl Meter {
    /// Reads everything.
    pub(super) async fn read(child: &Child) -> anyhow::Result<Meter> {
        let mut connection = Connection::open(child.address()).await?;
        let text = connection.ask_well(&request("GET", "/metrics", "")).await?;
        let journal = Journal::read(std::str::from_utf8(text).context("what /metrics says")?);
        Ok(Meter {
            at: clock::stopwatch(),
            server: process::processor_time(child.id())?,
            generator: process::processor_time(std::process::id())?,
            machine: process::machine_time()?,
            journal,
        })
    }

    /// What was spent since an earlier reading.
    pub(super) fn since(&self, before: &Meter) -> Spent {
        let server = self.server.saturating_sub(before.server);
        let generator = self.generator.saturating_sub(before.generator);
        let machine = self.machine.saturating_sub(before.machine);
        let sync_seconds = self.journal.sync_seconds - before.journal.sync_seconds;
        Spent {
            wall: self.at.duration_since(before.at),
            server,
            generator,
            others: machine.saturating_sub(server + generator),
            journal_bytes: self.journal.bytes - before.journal.bytes,
            syncs: self.journal.syncs - before.journal.syncs,
            syncing: Duration::from_secs_f64(sync_seconds.max(0.0)),
        }
    }
}

impl Journal {
    fn read(metrics: &str) -> Journal {
        let value = |name: &str| {
            let value =
                metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.unwrap_or_default()
        };
        Journal {
            bytes: value("duly_journal_bytes_total "),
            syncs: value("duly_fsync_seconds_count "),
            sync_seconds: value("duly_fsync_seconds_sum "),
        }
    }
}

impl Spent {
    /// Who used the time.
    pub(super) fn limit(&self) -> Limit {
        let wall = self.wall.as_secs_f64().max(f64::EPSILON);
        let of_all = |time: Duration| time.as_secs_f64() / wall / f64::from(process::cores());
        Limit {
            server: of_all(self.server),
            generator: of_all(self.generator),
            others: of_all(self.others),
            syncing: self.syncing.as_secs_f64() / wall,
        }
    }
}

impl Limit {
    /// What held it up.
    pub(super) fn word(&self) -> &'static str {
        let most = self.server.max(self.generator).max(self.others);
        if self.server + self.generator + self.others >= BUSY {
            return match most {
                most if most <= self.server => "processors: server",
                most if most <= self.generator => "processors: generator",
                _ => "processors: others",
            };
        }
        if self.syncing >= SYNCING { "disk" } else { "hand-overs" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_user_of_full_processors_is_named_else_the_disk() {
        let limit = |server, generator, others, syncing| {
            Limit { server, generator, others, syncing }.word()
        };
        assert_eq!(limit(0.5, 0.3, 0.1, 0.9), "processors: server");
        assert_eq!(limit(0.2, 0.6, 0.1, 0.9), "processors: generator");
        assert_eq!(limit(0.2, 0.1, 0.6, 0.9), "processors: others");
        assert_eq!(limit(0.2, 0.1, 0.1, 0.9), "disk");
        assert_eq!(limit(0.2, 0.1, 0.1, 0.1), "hand-overs");
    }

    #[test]
    fn the_journals_figures_are_read_by_their_whole_names() {
        let text = "duly_fsync_seconds_sum 1.5\nduly_fsync_seconds_count 30\n\
                    duly_fsync_seconds_bucket{le=\"0.1\"} 7\nduly_journal_bytes_total 4096\n";
        let journal = Journal::read(text);
        assert_eq!((journal.syncs, journal.bytes), (30.0, 4_096.0));
        assert!((journal.sync_seconds - 1.5).abs() < 1e-9);
    }
}
