//! Deadlines that really fall due, and the workers that take them and say that they are done.
//!
//! All are scheduled and acknowledged before the first is due. How late each is, is told by this
//! program's clock against the due time that was asked for, never by what the server says of it;
//! arrivals are the due times themselves, so a server that stands still is late with all of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};

use super::closed::{self, Shape, Verb};
use super::crowd::{Crowd, Line};
use super::dialect::{Said, now_ms};
use super::histogram::Histogram;

/// How long before the first due time everybody is in place.
const HEAD_START: Duration = Duration::from_millis(300);
/// Deadlines by which the pace of a server is learned, and how long that may take.
const TRIAL: (u64, Duration) = (4_000, Duration::from_secs(1));
/// What is left to the server above the time that the trial foretells.
const SPARE: Duration = Duration::from_secs(1);

/// Deadlines on their way.
pub(super) struct Due {
    pub(super) count: u64,
    /// By the wall clock, in milliseconds.
    pub(super) first_ms: u64,
    pub(super) spread_ms: u64,
    /// The first due time by the stopwatch.
    pub(super) first: Instant,
    /// Deadlines that are due much later.
    pub(super) others: Range<u64>,
}

/// What came of it.
pub(super) struct Worked {
    /// From the first due time until the last verdict was acknowledged.
    pub(super) time: Duration,
    /// How long after its due time a worker had each.
    pub(super) handed: Histogram,
    /// How long after its due time each verdict was acknowledged.
    pub(super) done: Histogram,
    /// Handed out before they were due.
    pub(super) early: u64,
    /// Handed out more than once.
    pub(super) again: u64,
}

impl Due {
    /// Schedules `count` deadlines whose due times are spread evenly over that time.
    pub(super) fn lay(
        crowd: &mut Crowd,
        shape: Shape,
        count: u64,
        spread: Duration,
        patience: Duration,
    ) -> anyhow::Result<Due> {
        let far = now_ms() + 86_400_000;
        let trial = (count, count + TRIAL.0);
        let trial_run =
            closed::run(crowd, Verb::Schedule(&|_| far), shape, trial, TRIAL.1, patience)?;
        let pieces = count.div_ceil(trial_run.count.max(1));
        // Half as much again: a server may be slower when it has more.
        let pieces = u32::try_from(pieces).context("it schedules too few")?;
        let lead = trial_run.time * pieces * 3 / 2 + SPARE;
        ensure!(lead < patience, "to schedule {count} would take {lead:?}");
        let (now, stopwatch) = both_clocks();
        let lead_ms = u64::try_from(lead.as_millis()).context("that is too long")?;
        let spread_ms = u64::try_from(spread.as_millis()).context("that is too long")?;
        let first_ms = u64::try_from(now.as_millis()).context("a clock far ahead")? + lead_ms;
        let first = stopwatch + Duration::from_millis(first_ms).saturating_sub(now);
        let others = count..count + trial_run.count;
        let due = Due { count, first_ms, spread_ms, first, others };
        let when = |number| due.first_ms + number * due.spread_ms / due.count;
        closed::run(crowd, Verb::Schedule(&when), shape, (0, count), patience, patience)?;
        let left = due.first.saturating_duration_since(Instant::now());
        ensure!(left > HEAD_START, "to schedule them took longer than foreseen");
        Ok(due)
    }

    /// When everybody is in place, by the wall clock in milliseconds.
    pub(super) fn in_place_ms(&self) -> u64 {
        self.first_ms - u64::try_from(HEAD_START.as_millis()).expect("it is short")
    }

    /// Waits until shortly before the first is due: waiting is not part of the work.
    pub(super) fn nearly(&self) {
        let left = self.first.saturating_duration_since(Instant::now());
        std::thread::sleep(left.saturating_sub(HEAD_START));
    }

    /// When it is due, by the stopwatch.
    pub(super) fn at(&self, number: u64) -> Instant {
        self.first + Duration::from_millis(number * self.spread_ms / self.count)
    }
}

/// The same moment by both clocks: since 1970, and by the stopwatch.
fn both_clocks() -> (Duration, Instant) {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    (since, Instant::now())
}

/// One worker.
#[derive(Default)]
struct Worker {
    /// Answers still to come of its last lease.
    open: usize,
    /// What it said is done, in that order, and whether nobody had said it before.
    said: VecDeque<(u64, bool)>,
    /// When it asks again, having got nothing.
    asks_at: Option<Instant>,
}

/// Lets every connection be a worker that leases up to `most` and says at once that they are done, until
/// all are. Who gets nothing asks again after `pause`.
pub(super) fn work(
    crowd: &mut Crowd,
    due: &Due,
    most: usize,
    pause: Duration,
    patience: Duration,
) -> anyhow::Result<Worked> {
    let mut workers: Vec<Worker> = (0..crowd.len()).map(|_| Worker::default()).collect();
    let mut outcome = Worked {
        time: Duration::ZERO,
        handed: Histogram::default(),
        done: Histogram::default(),
        early: 0,
        again: 0,
    };
    let mut seen = vec![false; usize::try_from(due.count).context("too many")?];
    let mut left = due.count;
    for (place, worker) in workers.iter_mut().enumerate() {
        worker.ask(crowd.line(place), most);
        crowd.flush(place)?;
    }
    let end = due.at(due.count - 1) + patience;
    while left > 0 {
        ensure!(Instant::now() < end, "{left} of {} never came or were never done", due.count);
        let until = workers.iter().filter_map(|worker| worker.asks_at).min();
        crowd.hear(until, |place, said, line, now| {
            let worker = &mut workers[place];
            match said {
                Said::Handed(handed) => {
                    worker.open = worker.open.saturating_sub(1);
                    line.dialect.verdicts(&mut line.out, &handed);
                    for one in handed {
                        let at = usize::try_from(one.number).ok().and_then(|at| seen.get_mut(at));
                        let seen = at.with_context(|| format!("{} is not due", one.number))?;
                        let again = std::mem::replace(seen, true);
                        outcome.again += u64::from(again);
                        outcome.early += u64::from(now < due.at(one.number));
                        outcome.handed.add(now.saturating_duration_since(due.at(one.number)));
                        worker.said.push_back((one.number, !again));
                    }
                    if worker.open == 0 {
                        worker.ask(line, most);
                    }
                }
                Said::Nothing(count) => {
                    worker.open = worker.open.saturating_sub(count);
                    if worker.open == 0 {
                        worker.asks_at = Some(now + pause);
                    }
                }
                Said::Done(count) => {
                    for _ in 0..count {
                        let said = worker.said.pop_front().context("an answer too many")?;
                        outcome.done.add(now.saturating_duration_since(due.at(said.0)));
                        left -= u64::from(said.1);
                    }
                }
                Said::Lapsed(_) | Said::Noise => bail!("nobody asked for {said:?}"),
            }
            Ok(())
        })?;
        let now = Instant::now();
        for (place, worker) in workers.iter_mut().enumerate() {
            if worker.asks_at.is_some_and(|at| at <= now) {
                worker.ask(crowd.line(place), most);
                crowd.flush(place)?;
            }
        }
    }
    outcome.time = Instant::now().saturating_duration_since(due.first);
    Ok(outcome)
}

impl Worker {
    fn ask(&mut self, line: &mut Line, most: usize) {
        self.open = line.dialect.lease(&mut line.out, most);
        self.asks_at = None;
    }
}
