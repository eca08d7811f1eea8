//! The measurements, one function each: what is done, and which rows it gives.
//!
//! Each has a server and a directory of its own, so that none inherits the work of another (an
//! archive that catches up, a journal that is cleaned). The clock of a measurement starts when
//! connections are open and the server rests; what the server still does for it afterwards
//! (archiving) is in its processor time but not in its rate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::child::Child;
use super::due::{Schedule, work};
use super::load::{Stop, drive, send_all};
use super::meter::Meter;
use super::process::resident_bytes;
use super::report::{Cost, Figure, Row, Times, millis, number, round};
use super::requests::{self, Template};
use super::stats::stats;
use crate::clock;

/// The queue of every measurement.
pub(super) const QUEUE: &str = "bench";
/// Deadlines in one request of a batch.
pub(super) const BATCH: u64 = 1_000;
/// Commands in one pipeline of the Redis protocol.
const PIPELINE: usize = 1_000;
/// No count: only time stops it.
const ENDLESS: u64 = u64::MAX;
/// How long to wait for what must come.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One caller that waits for each answer.
    #[value(name = "schedule-1")]
    ScheduleOne,
    /// 64 callers.
    #[value(name = "schedule-64")]
    ScheduleMany,
    /// 64 callers that settle by key.
    Settle,
    /// 1,000 schedules in a request.
    Batch,
    /// How late lapses and their deliveries are.
    Lateness,
    /// Memory of pending deadlines, and a restart with them.
    Pending,
    /// All due in one millisecond.
    Stampede,
}

impl Case {
    /// What can be measured over a protocol.
    pub fn over(over: Over) -> &'static [Case] {
        match over {
            Over::Http => Case::value_variants(),
            Over::Redis => &[Case::ScheduleOne, Case::ScheduleMany, Case::Settle, Case::Batch],
        }
    }
}

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// Its HTTP API.
    #[default]
    Http,
    /// The Redis protocol: `SET … EX`, `DEL`, and pipelines for batches.
    Redis,
}

impl Over {
    /// In words.
    pub(super) fn shown(self) -> &'static str {
        match self {
            Over::Http => "HTTP",
            Over::Redis => "the Redis protocol",
        }
    }
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long requests are sent.
    pub time: Duration,
    /// Settles at most.
    pub settles: u64,
    /// Deadlines whose lateness is measured, for each target.
    pub late: u64,
    /// The time they are spread over.
    pub spread: Duration,
    /// Pending deadlines.
    pub pending: u64,
    /// Deadlines due in one millisecond.
    pub stampede: u64,
}

impl Plan {
    /// About a minute.
    pub const WHOLE: Plan = Plan {
        time: Duration::from_secs(6),
        settles: 200_000,
        late: 10_000,
        spread: Duration::from_secs(5),
        pending: 100_000,
        stampede: 100_000,
    };
    /// About ten seconds.
    pub const QUICK: Plan = Plan {
        time: Duration::from_secs(1),
        settles: 20_000,
        late: 1_000,
        spread: Duration::from_secs(1),
        pending: 20_000,
        stampede: 20_000,
    };
}

/// Where and how much.
pub(super) struct Site<'a> {
    pub(super) program: &'a Path,
    pub(super) folder: PathBuf,
    pub(super) plan: Plan,
    pub(super) over: Over,
}

impl Site<'_> {
    pub(super) async fn measure(&self, case: Case) -> anyhow::Result<Vec<Row>> {
        let time = Stop { count: ENDLESS, time: self.plan.time };
        let one = || match self.over {
            Over::Http => requests::schedule(QUEUE),
            Over::Redis => requests::set(QUEUE, 1),
        };
        let thousand = || match self.over {
            Over::Http => requests::schedules(QUEUE, BATCH),
            Over::Redis => requests::set(QUEUE, PIPELINE),
        };
        match case {
            Case::ScheduleOne => {
                self.rate("schedule-1", "schedule, 1 connection", 1, time, one).await
            }
            Case::ScheduleMany => {
                self.rate("schedule-64", "schedule, 64 connections", 64, time, one).await
            }
            Case::Batch => {
                self.rate("batch", "schedule, 1,000 a request, 8 connections", 8, time, thousand)
                    .await
            }
            Case::Settle => self.settle().await,
            Case::Lateness => self.lateness().await,
            Case::Pending => self.pending().await,
            Case::Stampede => self.stampede().await,
        }
    }

    /// A server with one queue and, so that nothing is done for the first time, some deadlines in
    /// another.
    async fn server(&self, target: &str) -> anyhow::Result<Child> {
        let child = Child::start(self.program, &self.folder).await?;
        let mut warm = requests::schedules("warm", BATCH);
        send_all(child.address(), [requests::queue(QUEUE, target), warm.from(0).to_vec()]).await?;
        Ok(child)
    }

    async fn rate(
        &self,
        name: &'static str,
        measured: &str,
        connections: usize,
        stop: Stop,
        template: impl Fn() -> Template,
    ) -> anyhow::Result<Vec<Row>> {
        let child = self.server("none").await?;
        Ok(vec![self.rate_of(&child, name, measured, connections, stop, template).await?])
    }

    async fn rate_of(
        &self,
        child: &Child,
        name: &'static str,
        measured: &str,
        connections: usize,
        stop: Stop,
        template: impl Fn() -> Template,
    ) -> anyhow::Result<Row> {
        let address = match self.over {
            Over::Http => child.address(),
            Over::Redis => child.redis(),
        };
        child.rest().await?;
        let before = Meter::read(child).await?;
        let done = drive(address, connections, stop, template).await?;
        let at_work = Meter::read(child).await?.since(&before);
        child.rest().await?;
        let spent = Meter::read(child).await?.since(&before);
        Ok(Row {
            name,
            measured: measured.to_owned(),
            count: done.count,
            per_second: Some(round(number(done.count) / at_work.wall.as_secs_f64())),
            times: Times::of(done.times),
            cost: Some(Cost::of(&spent, &at_work.limit(), done.count)),
            figure: None,
        })
    }

    async fn settle(&self) -> anyhow::Result<Vec<Row>> {
        let child = self.server("none").await?;
        let count = self.plan.settles.next_multiple_of(BATCH);
        load(&child, QUEUE, count).await?;
        let stop = Stop { count, time: self.plan.time };
        let measured = "settle by key, 64 connections";
        let template = || match self.over {
            Over::Http => requests::settle(QUEUE),
            Over::Redis => requests::delete(QUEUE),
        };
        Ok(vec![self.rate_of(&child, "settle-64", measured, 64, stop, template).await?])
    }

    /// Deadlines due at times of their own: how late the server lapses them, and how late a waiting
    /// worker has them.
    async fn lateness(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let count = self.plan.late;
        for target in ["none", "pull"] {
            let child = self.server(target).await?;
            let schedule = Schedule::lay(&child, count, self.plan.spread).await?;
            schedule.nearly_due().await;
            let before = Meter::read(&child).await?;
            let worker = if target == "pull" {
                let mut late = Vec::new();
                work(&child, &schedule, 1, 1_000, |lateness, _| late.push(lateness)).await?;
                Some(late)
            } else {
                all_done(&child, count).await?;
                None
            };
            child.rest().await?;
            let spent = Meter::read(&child).await?.since(&before);
            let server = stats(&child).await?.lateness;
            ensure!(server.count == count, "{} lapsed instead of {count}", server.count);
            let (name, measured) = if worker.is_some() {
                ("lateness-pull", "lateness on a pull queue, by the server")
            } else {
                ("lateness-none", "lateness on a queue without target, by the server")
            };
            rows.push(Row {
                name,
                measured: measured.to_owned(),
                count,
                times: Some(server.into()),
                cost: Some(Cost::of_paced(&spent, count)),
                ..Row::default()
            });
            if let Some(late) = worker {
                rows.push(Row {
                    name: "lateness-worker",
                    measured: "the same, when the worker has them".to_owned(),
                    count,
                    times: Times::of(late),
                    ..Row::default()
                });
            }
        }
        Ok(rows)
    }

    /// Memory of pending deadlines, and how long a killed server with them takes to come back.
    async fn pending(&self) -> anyhow::Result<Vec<Row>> {
        let mut child = self.server("none").await?;
        let count = self.plan.pending.next_multiple_of(BATCH);
        child.kill_and_restart().await?;
        child.rest().await?;
        let restarted_empty = resident_bytes(child.id())?;
        load(&child, "warm", 10 * BATCH).await?;
        let empty = resident_bytes(child.id())?;
        let before = Meter::read(&child).await?;
        load(&child, QUEUE, count).await?;
        let spent = Meter::read(&child).await?.since(&before);
        let grown = resident_bytes(child.id())?.saturating_sub(empty);
        let ready = child.kill_and_restart().await?;
        let found = stats(&child).await?.pending(QUEUE);
        ensure!(found == count, "{found} of {count} acknowledged deadlines are there after a kill");
        child.rest().await?;
        let again = resident_bytes(child.id())?.saturating_sub(restarted_empty);
        let each = |bytes: u64, count: u64| round(number(bytes) / number(count));
        let memory = Figure::Memory {
            bytes_each: each(grown, count),
            // Of those in the other queue, all but the first batch came after the empty start.
            restarted_bytes_each: each(again, count + 9 * BATCH),
        };
        Ok(vec![
            Row {
                name: "pending",
                measured: "pending deadlines".to_owned(),
                count,
                per_second: Some(round(number(count) / spent.wall.as_secs_f64())),
                cost: Some(Cost::of(&spent, &spent.limit(), count)),
                figure: Some(memory),
                ..Row::default()
            },
            Row {
                name: "restart",
                measured: "restart with them after kill -9".to_owned(),
                count,
                figure: Some(Figure::Ready { ready_ms: millis(ready) }),
                ..Row::default()
            },
        ])
    }

    /// All due in one millisecond, for two workers.
    async fn stampede(&self) -> anyhow::Result<Vec<Row>> {
        let child = self.server("pull").await?;
        let count = self.plan.stampede;
        let schedule = Schedule::lay(&child, count, Duration::ZERO).await?;
        schedule.nearly_due().await;
        let before = Meter::read(&child).await?;
        let mut until_done = Vec::new();
        work(&child, &schedule, 2, 100, |_, done| until_done.push(done)).await?;
        let all = *until_done.iter().max().context("nothing was done")?;
        let limit = Meter::read(&child).await?.since(&before).limit();
        child.rest().await?;
        let spent = Meter::read(&child).await?.since(&before);
        let done = stats(&child).await?.done(QUEUE);
        ensure!(done == count, "{done} of {count} are done");
        Ok(vec![Row {
            name: "stampede",
            measured: "due in one millisecond, 2 workers, 100 a lease".to_owned(),
            count,
            per_second: Some(round(number(count) / all.as_secs_f64())),
            times: Times::of(until_done),
            cost: Some(Cost::of(&spent, &limit, count)),
            figure: Some(Figure::AllDone { all_done_ms: millis(all) }),
        }])
    }
}

/// Schedules so many, due much later, by batches over one connection.
async fn load(child: &Child, queue: &str, count: u64) -> anyhow::Result<()> {
    let stop = Stop { count, time: PATIENCE };
    let loaded = drive(child.address(), 1, stop, || requests::schedules(queue, BATCH)).await?;
    ensure!(loaded.count == count, "only {} of {count} were scheduled in time", loaded.count);
    child.rest().await
}

/// Waits until so many are done without anybody's help.
async fn all_done(child: &Child, count: u64) -> anyhow::Result<()> {
    let begun = clock::stopwatch();
    while stats(child).await?.done(QUEUE) < count {
        ensure!(begun.elapsed() < PATIENCE, "not all lapsed in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
