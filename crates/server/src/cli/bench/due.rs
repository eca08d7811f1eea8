//! Deadlines that really fall due while somebody measures, and the workers that wait for them.
//!
//! All are scheduled and acknowledged before the first is due. How late a delivery is, is told by the
//! generator's clock against the due time that was asked for, never by what the server says of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answers::{Leased, all_good};
use super::child::Child;
use super::load::send_all;
use super::measure::{BATCH, PATIENCE, QUEUE};
use super::requests;
use super::wire::Connection;
use crate::clock;

/// How long before the first due time everybody is in place.
const HEAD_START: Duration = Duration::from_millis(50);

/// Deadlines on their way, and when each is due.
pub(super) struct Schedule {
    count: u64,
    /// By the wall clock, in milliseconds.
    first_due: u64,
    spread_ms: u64,
    /// By the stopwatch.
    begins: Instant,
}

impl Schedule {
    /// Schedules deadlines that are due soon, the first of them only when all are acknowledged.
    pub(super) async fn lay(
        child: &Child,
        count: u64,
        spread: Duration,
    ) -> anyhow::Result<Schedule> {
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        let batches = count.div_ceil(BATCH);
        let begun = clock::stopwatch();
        send_all(child.address(), [requests::schedules("warm", BATCH).from(BATCH).to_vec()])
            .await?;
        // One batch took so long; three times that for each leaves room for a busy machine.
        let pieces = u32::try_from(batches).unwrap_or(u32::MAX);
        let lead = Duration::from_millis(700) + begun.elapsed() * 3 * pieces;
        let (now, stopwatch) = tick();
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
    pub(super) async fn nearly_due(&self) {
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

/// The moment at which the wall clock, in milliseconds, begins to show a new one: by both clocks.
fn tick() -> (u64, Instant) {
    let before = clock::wall();
    let mut now = before;
    while now == before {
        now = clock::wall();
    }
    (now.millis(), clock::stopwatch())
}

/// Lets workers lease and say done until all are done. `heard` is told of each how long after its due
/// time the worker had it, and how long after it the verdict was acknowledged.
pub(super) async fn work(
    child: &Child,
    schedule: &Schedule,
    workers: usize,
    most: usize,
    mut heard: impl FnMut(Duration, Duration),
) -> anyhow::Result<()> {
    let (done, mut all_done) = mpsc::unbounded_channel();
    let schedule = Arc::new(Schedule { ..*schedule });
    let mut under_way = JoinSet::new();
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
            all_good(answer, numbers.len())?;
            let done = numbers.iter().map(|number| self.schedule.lateness(*number));
            if self.done.send(late.into_iter().zip(done).collect()).is_err() {
                return Ok(());
            }
        }
    }
}
