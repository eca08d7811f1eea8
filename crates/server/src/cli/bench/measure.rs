//! The measurements, one function each: what is done, and which rows it gives.
//!
//! Each has a server and a directory of its own, so that none inherits the work of another (an
//! archive that catches up, a journal that is cleaned). The clock of a measurement starts when
//! connections are open and the server rests; what the server still does for it afterwards
//! (archiving) is in its processor time but not in its rate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::child::Child;
use super::load::{Stop, drive, send_all};
use super::meter::Meter;
use super::process::resident_bytes;
use super::report::{Cost, Figure, Row, Times, millis, number, round};
use super::requests::{self, Template};
use super::wire::{Connection, request};
use crate::clock;

/// The queue of every measurement.
const QUEUE: &str = "bench";
/// Deadlines in one request of a batch.
const BATCH: u64 = 1_000;
/// How long before the first due time everybody is in place.
const HEAD_START: Duration = Duration::from_millis(50);
/// No count: only time stops it.
const ENDLESS: u64 = u64::MAX;
/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_mins(2);

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
}

impl Site<'_> {
    pub(super) async fn measure(&self, case: Case) -> anyhow::Result<Vec<Row>> {
        let time = Stop { count: ENDLESS, time: self.plan.time };
        let one = || requests::schedule(QUEUE);
        let thousand = || requests::schedules(QUEUE, BATCH);
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
        Ok(vec![rate(&child, name, measured, connections, stop, template).await?])
    }

    async fn settle(&self) -> anyhow::Result<Vec<Row>> {
        let child = self.server("none").await?;
        let count = self.plan.settles.next_multiple_of(BATCH);
        load(&child, QUEUE, count).await?;
        let stop = Stop { count, time: self.plan.time };
        let measured = "settle by key, 64 connections";
        let template = || requests::settle(QUEUE);
        Ok(vec![rate(&child, "settle-64", measured, 64, stop, template).await?])
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
        let empty = resident_bytes(child.id())?;
        let before = Meter::read(&child).await?;
        load(&child, QUEUE, count).await?;
        let spent = Meter::read(&child).await?.since(&before);
        let grown = resident_bytes(child.id())?.saturating_sub(empty);
        let ready = child.kill_and_restart().await?;
        let found = stats(&child).await?.pending(QUEUE);
        ensure!(found == count, "{found} of {count} acknowledged deadlines are there after a kill");
        child.rest().await?;
        let again = resident_bytes(child.id())?.saturating_sub(empty);
        let each = |bytes: u64| round(number(bytes) / number(count));
        let memory = Figure::Memory { bytes_each: each(grown), restarted_bytes_each: each(again) };
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

async fn rate(
    child: &Child,
    name: &'static str,
    measured: &str,
    connections: usize,
    stop: Stop,
    template: impl Fn() -> Template,
) -> anyhow::Result<Row> {
    child.rest().await?;
    let before = Meter::read(child).await?;
    let done = drive(child.address(), connections, stop, template).await?;
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

/// Schedules so many, due much later, by batches over one connection.
async fn load(child: &Child, queue: &str, count: u64) -> anyhow::Result<()> {
    let stop = Stop { count, time: PATIENCE };
    let loaded = drive(child.address(), 1, stop, || requests::schedules(queue, BATCH)).await?;
    ensure!(loaded.count == count, "only {} of {count} were scheduled in time", loaded.count);
    child.rest().await
}

/// Deadlines on their way, and when each is due.
struct Schedule {
    count: u64,
    /// By the wall clock, in milliseconds.
    first_due: u64,
    spread_ms: u64,
    /// By the stopwatch.
    begins: Instant,
}

impl Schedule {
    /// Schedules deadlines that are due soon, the first of them only when all are acknowledged.
    async fn lay(child: &Child, count: u64, spread: Duration) -> anyhow::Result<Schedule> {
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        let batches = count.div_ceil(BATCH);
        let begun = clock::stopwatch();
        send_all(child.address(), [requests::schedules("warm", BATCH).from(BATCH).to_vec()])
            .await?;
        // One batch took so long; three times that for each leaves room for a busy machine.
        let pieces = u32::try_from(batches).unwrap_or(u32::MAX);
        let lead = Duration::from_millis(700) + begun.elapsed() * 3 * pieces;
        let (now, stopwatch) = (clock::wall().millis(), clock::stopwatch());
        let lead_ms = u64::try_from(lead.as_millis()).unwrap_or(u64::MAX);
        let schedule = Schedule {
            count,
            first_due: now + lead_ms,
            spread_ms,
            begins: stopwatch + Duration::from_millis(lead_ms),
        };
        let batch = |first: u64| {
            let lines = BATCH.min(count - first);
            requests::schedules_due(QUEUE, first, lines, |number| schedule.due(number))
        };
        send_all(child.address(), (0..batches).map(|piece| batch(piece * BATCH))).await?;
        ensure!(
            stopwatch.elapsed() < lead,
            "scheduling them took longer than foreseen: try again when the machine is quieter"
        );
        Ok(schedule)
    }

    /// Waits until shortly before the first is due: waiting is not part of the work.
    async fn nearly_due(&self) {
        let left = self.begins.saturating_duration_since(clock::stopwatch());
        tokio::time::sleep(left.saturating_sub(HEAD_START)).await;
    }

    fn due(&self, number: u64) -> u64 {
        self.first_due + number * self.spread_ms / self.count
    }

    /// How long after its due time it is now.
    fn lateness(&self, number: u64) -> Duration {
        let due = self.due(number) - self.first_due;
        self.begins.elapsed().saturating_sub(Duration::from_millis(due))
    }
}

/// Lets workers lease and say done until all are done. `heard` is told of each how long after its due
/// time the worker had it, and how long after it the verdict was acknowledged.
async fn work(
    child: &Child,
    schedule: &Schedule,
    workers: usize,
    most: usize,
    mut heard: impl FnMut(Duration, Duration),
) -> anyhow::Result<()> {
    let (done, mut all_done) = mpsc::unbounded_channel();
    let schedule = Arc::new(Schedule { ..*schedule });
    let mut under_way = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let worker = Worker {
            connection: Connection::open(child.address()).await?,
            lease: requests::lease(QUEUE, most),
            schedule: Arc::clone(&schedule),
            done: done.clone(),
        };
        under_way.spawn(worker.run());
    }
    drop(done);
    let mut left = schedule.count;
    let begun = clock::stopwatch();
    while left > 0 {
        let ended = tokio::time::timeout(PATIENCE.saturating_sub(begun.elapsed()), async {
            tokio::select! {
                biased;
                piece = all_done.recv() => Ok(piece),
                Some(ended) = under_way.join_next() => ended.context("a worker failed")?.map(|()| None),
            }
        });
        let piece: Option<Vec<(Duration, Duration)>> =
            ended.await.context("the workers did not get everything in time")??;
        let piece = piece.context("the workers ended early")?;
        left -= piece.len() as u64;
        for (late, done) in piece {
            heard(late, done);
        }
    }
    Ok(())
}

/// One worker: it leases, and says done of all it got in one request.
struct Worker {
    connection: Connection,
    lease: Vec<u8>,
    schedule: Arc<Schedule>,
    done: mpsc::UnboundedSender<Vec<(Duration, Duration)>>,
}

/// What a lease says.
#[derive(Deserialize)]
struct Leased<'a> {
    #[serde(borrow)]
    deliveries: Vec<Delivery<'a>>,
}

#[derive(Deserialize)]
struct Delivery<'a> {
    id: &'a str,
    token: &'a str,
    key: &'a str,
}

impl Worker {
    async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let body = self.connection.ask_well(&self.lease).await?;
            let leased: Leased<'_> = serde_json::from_slice(body).context("what a lease says")?;
            if leased.deliveries.is_empty() {
                continue;
            }
            let numbers: Vec<u64> =
                leased.deliveries.iter().filter_map(|one| requests::number(one.key)).collect();
            let late: Vec<Duration> =
                numbers.iter().map(|number| self.schedule.lateness(*number)).collect();
            let verdicts = requests::done(leased.deliveries.iter().map(|one| (one.id, one.token)));
            let answer = self.connection.ask_well(&verdicts).await?;
            ensure!(
                !answer.starts_with(br#"{"type""#),
                "a verdict was refused: {}",
                String::from_utf8_lossy(answer)
            );
            let done = numbers.iter().map(|number| self.schedule.lateness(*number));
            if self.done.send(late.into_iter().zip(done).collect()).is_err() {
                return Ok(());
            }
        }
    }
}

/// What `/v1/stats` says.
#[derive(Deserialize)]
struct Stats {
    queues: Vec<QueueStats>,
    lateness: Lateness,
}

#[derive(Deserialize)]
struct QueueStats {
    name: String,
    now: Now,
    total: Total,
}

#[derive(Deserialize)]
struct Now {
    pending: u64,
}

#[derive(Deserialize)]
struct Total {
    done: u64,
}

#[derive(Clone, Copy, Deserialize)]
struct Lateness {
    count: u64,
    p50_ms: u32,
    p99_ms: u32,
    max_ms: u32,
}

impl Stats {
    fn queue(&self, name: &str) -> Option<&QueueStats> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    fn pending(&self, name: &str) -> u64 {
        self.queue(name).map_or(0, |queue| queue.now.pending)
    }

    fn done(&self, name: &str) -> u64 {
        self.queue(name).map_or(0, |queue| queue.total.done)
    }
}

impl From<Lateness> for Times {
    fn from(lateness: Lateness) -> Times {
        Times {
            p50_ms: lateness.p50_ms.into(),
            p99_ms: lateness.p99_ms.into(),
            max_ms: lateness.max_ms.into(),
        }
    }
}

async fn stats(child: &Child) -> anyhow::Result<Stats> {
    let mut connection = Connection::open(child.address()).await?;
    let body = connection.ask_well(&request("GET", "/v1/stats", "")).await?;
    serde_json::from_slice(body).context("what /v1/stats says")
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
