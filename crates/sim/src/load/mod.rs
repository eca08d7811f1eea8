//! The load generator: what clients and workers do to Duly and to its rivals, in the same way and with
//! the same figures.
//!
//! One run is one measurement of one server that is there already: it connects, prepares, says `begin`
//! on a line and waits for a line, does the work, and prints what came of it as one line of JSON. So
//! whoever started it (`scripts/bench`) can read the server's processor time exactly around the work.
//! An operation that is refused, lost or answered wrongly ends it with an error. It starts nothing
//! and stops nothing.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod closed;
mod crowd;
mod deadline;
mod dialect;
mod due;
mod histogram;
mod paced;
#[cfg(test)]
mod proof;
mod sockets;
mod storm;
mod target;
mod webhooks;

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use self::closed::{Shape, Verb};
use self::crowd::Crowd;
use self::deadline::Payloads;
use self::dialect::{Protocol, Shared, now_ms};
use self::due::Due;
use self::histogram::{Histogram, Quantiles};
use crate::counters::Counters;

/// How far ahead deadlines are due that are not to fall due: a day.
const FAR_MS: u64 = 86_400_000;

/// What is done, to whom, and how much of it.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How the server is spoken to.
    protocol: Protocol,
    /// What is done.
    work: Work,
    /// Where it listens.
    address: SocketAddr,
    /// Connections, each of which is a worker where there are workers.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests under way on each.
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Deadlines in one request, where there is such a request.
    #[arg(long, default_value_t = 1)]
    batch: u64,
    /// Deadlines, at most.
    #[arg(long, default_value_t = 1_000_000_000)]
    count: u64,
    /// For how long, in milliseconds: the work, or all due times.
    #[arg(long, default_value_t = 2_000)]
    time_ms: u64,
    /// For how long deadlines are scheduled before they are settled, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    fill_ms: u64,
    /// Arrivals a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Most that a worker leases at once.
    #[arg(long, default_value_t = 100)]
    lease: usize,
    /// How long a worker waits that got nothing, in milliseconds.
    #[arg(long, default_value_t = 10)]
    poll_ms: u64,
    /// Pairs of queues beside that of the webhooks, the one with a slow target, the other with a silent one.
    #[arg(long, default_value_t = 0)]
    bad_pairs: u32,
    /// How long anything may take beyond its time, in seconds.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Work {
    /// Schedules as fast as the answers come.
    Schedule,
    /// Schedules at a pace of its own, and tells how long the answers took.
    Paced,
    /// Schedules, and then settles them by key as fast as the answers come.
    Settle,
    /// Schedules what falls due while workers wait for it.
    Due,
    /// Schedules what falls due at once, and settles others while it lapses.
    Storm,
    /// Schedules what falls due, and is the webhook that it is delivered to.
    Webhooks,
}

/// What came of it.
#[derive(Serialize)]
struct Outcome {
    operations: u64,
    seconds: f64,
    /// Processor time of this program while it worked.
    generator_seconds: f64,
    /// From a request to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Quantiles>,
    /// From the due time until a worker had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<Quantiles>,
    /// From the due time until its verdict was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Quantiles>,
    early: u64,
    again: u64,
}

/// Does it.
pub(crate) fn run(options: &Options) -> anyhow::Result<Counters> {
    let shared = Rc::new(Shared { payloads: Payloads::new(), names: RefCell::default() });
    let mut crowd = Crowd::open(options.address, options.protocol, &shared, options.connections)?;
    let outcome = options.measure(&mut crowd)?;
    let line = serde_json::to_string(&outcome).context("figures are plain")?;
    println!("{line}");
    let mut counters = Counters::new("load");
    counters.add("operations", outcome.operations);
    counters.floor("operations", 1);
    Ok(counters)
}

impl Options {
    fn measure(&self, crowd: &mut Crowd) -> anyhow::Result<Outcome> {
        let far = now_ms() + FAR_MS;
        let far = move |_| far;
        let shape = Shape { depth: self.depth, batch: self.batch };
        let (time, patience) = (Duration::from_millis(self.time_ms), self.patience());
        match self.work {
            Work::Schedule => {
                let begun = begin()?;
                let verb = Verb::Schedule(&far);
                let done = closed::run(crowd, verb, shape, (0, self.count), time, patience)?;
                Ok(begun.of(done.count, done.time).with_latency(&done.latency))
            }
            Work::Paced => {
                let begun = begin()?;
                let done = paced::run(crowd, &far, self.rate, time, patience)?;
                Ok(begun.of(done.count, done.time).with_latency(&done.latency))
            }
            Work::Settle => {
                let (verb, fill) = (Verb::Schedule(&far), Duration::from_millis(self.fill_ms));
                let filled =
                    closed::run(crowd, verb, self.filling(), (0, self.count), fill, patience)?;
                let all = (0, filled.count);
                let begun = begin()?;
                let done = closed::run(crowd, Verb::Settle, shape, all, time, patience)?;
                Ok(begun.of(done.count, done.time).with_latency(&done.latency))
            }
            Work::Due => {
                let due = Due::lay(crowd, self.filling(), self.count, time, patience)?;
                due.nearly();
                let begun = begin()?;
                let pause = Duration::from_millis(self.poll_ms);
                let worked = due::work(crowd, &due, self.lease, pause, patience)?;
                Ok(Outcome {
                    late: worked.handed.quantiles(),
                    done: worked.done.quantiles(),
                    early: worked.early,
                    again: worked.again,
                    ..begun.of(due.count, worked.time)
                })
            }
            Work::Storm => {
                let due = Due::lay(crowd, self.filling(), self.count, Duration::ZERO, patience)?;
                due.nearly();
                let begun = begin()?;
                let done = storm::run(crowd, &due, patience)?;
                Ok(begun.of(done.count, done.time).with_latency(&done.latency))
            }
            Work::Webhooks => {
                ensure!(self.protocol == Protocol::DulyHttp, "only Duly calls webhooks");
                let mut targets = webhooks::prepare(self.address, self.bad_pairs)?;
                let due = Due::lay(crowd, self.filling(), self.count, time, patience)?;
                webhooks::fill(self.address, self.bad_pairs, &due)?;
                due.nearly();
                let begun = begin()?;
                let worked = webhooks::work(&mut targets, &due, patience)?;
                Ok(Outcome {
                    late: worked.handed.quantiles(),
                    early: worked.early,
                    again: worked.again,
                    ..begun.of(due.count, worked.time)
                })
            }
        }
    }

    /// How deadlines are scheduled where that is not what is measured: as fast as it goes.
    fn filling(&self) -> Shape {
        match self.protocol {
            Protocol::DulyHttp => Shape { depth: 2, batch: 500 },
            _ => Shape { depth: 64, batch: 1 },
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

/// What the processor had spent on this program when the work began.
struct Begun(Duration);

/// Says that the work can begin, and waits for a word; at the end of the input nobody will say one.
fn begin() -> anyhow::Result<Begun> {
    println!("begin");
    std::io::stdout().flush().context("nobody listens")?;
    std::io::stdin().read_line(&mut String::new()).context("nobody says that it may begin")?;
    Ok(Begun(processor_time()))
}

impl Begun {
    fn of(self, operations: u64, time: Duration) -> Outcome {
        Outcome {
            operations,
            seconds: time.as_secs_f64(),
            generator_seconds: processor_time().saturating_sub(self.0).as_secs_f64(),
            latency: None,
            late: None,
            done: None,
            early: 0,
            again: 0,
        }
    }
}

impl Outcome {
    fn with_latency(self, latency: &Histogram) -> Outcome {
        Outcome { latency: latency.quantiles(), ..self }
    }
}

/// Processor time of this program so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
