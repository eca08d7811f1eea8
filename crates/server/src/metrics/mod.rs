//! Figures for Prometheus and for the statistics page.
//!
//! What the engine counts is read from it at every scrape; only what it cannot see is recorded
//! here: how late deadlines lapsed, how long a disk sync took. Queues are labels, keys never are: a
//! label with a million values would sink the Prometheus that asks.

mod observed;
mod outboxes;
mod redis;
mod watches;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duly_engine::answer::{ClockView, QueueView};
use duly_engine::time::Span;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Bounds of the lateness histogram, in microseconds: 1 ms to 1 h.
const LATENESS: &[u64] = &[
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];
/// Bounds of the sync histogram, in microseconds: 50 µs to 5 s.
const SYNC: &[u64] = &[
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 5_000_000,
];

pub use self::observed::{
    Case, Delays, Fate, Instead, LONG, NAMED, Observed, Overdue, Tells, When,
};
pub use self::outboxes::{OutboxFigures, Outboxes};
pub use redis::{Cut, RedisFigures};
pub use watches::{Drift, Trouble, WatchFigures, Watches};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge>;
type Count = fn(&QueueView) -> u64;
type Counters = Family<Labels, Counter>;

/// How the server is, for health checks and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// Lapses and leases can be written.
    pub ready: bool,
    /// What does not move although it should.
    pub stall: Option<Stall>,
    /// Spare journal segments in reserve.
    pub spare_segments: usize,
    /// Final records on their way to the archive.
    pub archive_lag: u64,
}

/// Something that should move and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The disk has not come back from a write or a sync.
    Journal,
    /// The driver takes no step.
    Driver,
    /// Something is overdue, and the driver's steps bring nothing to the disk.
    Timers,
}

impl Stall {
    /// All of them; causes before what follows from them.
    pub const ALL: [Stall; 3] = [Stall::Journal, Stall::Driver, Stall::Timers];

    /// A stable word.
    pub fn reason(self) -> &'static str {
        match self {
            Stall::Journal => "journal",
            Stall::Driver => "driver",
            Stall::Timers => "timers",
        }
    }

    /// The same for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Stall::Journal => "the disk does not come back from a write or a sync of the journal",
            Stall::Driver => "the driver takes no step",
            Stall::Timers => "deadlines are overdue and none of them lapses",
        }
    }
}

/// What is recorded while the server runs; cheap to clone, every clone is the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    lateness: Histogram,
    sync: Histogram,
    journal_bytes: Counter,
    clock_sets: Counter,
    outboxes: Outboxes,
    redis: RedisFigures,
    watches: Watches,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            lateness: Histogram::new(LATENESS),
            sync: Histogram::new(SYNC),
            journal_bytes: Counter::default(),
            clock_sets: Counter::default(),
            outboxes: Outboxes::default(),
            redis: RedisFigures::default(),
            watches: Watches::default(),
        }
    }
}

/// How late deadlines lapsed since the process began.
#[derive(Clone, Debug)]
pub struct Lateness {
    /// Upper bound (none is later than all others) and how many lapses fell into it alone.
    pub buckets: Vec<(Option<Span>, u64)>,
    /// The latest.
    pub max: Span,
}

impl Lateness {
    /// Lapses in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// So many of a hundred lapses were not later than this; the bound of the bucket, zero when
    /// nothing lapsed.
    pub fn quantile(&self, percent: u64) -> Span {
        let wanted = (self.count() * percent).div_ceil(100);
        if wanted == 0 {
            return Span::ZERO;
        }
        let mut seen = 0;
        for &(bound, count) in &self.buckets {
            seen += count;
            if seen >= wanted {
                return bound.map_or(self.max, |bound| bound.min(self.max));
            }
        }
        self.max
    }
}

impl Metrics {
    /// A deadline lapsed so long after it was to lapse.
    pub fn lapse(&self, late: Span) {
        self.lateness.observe(late.millis().saturating_mul(1_000));
    }

    /// So many bytes went to the journal.
    pub fn wrote(&self, bytes: usize) {
        self.journal_bytes.inc_by(bytes as u64);
    }

    /// The machine told that its clock was set, or that it woke up.
    pub fn clock_set(&self) {
        self.clock_sets.inc();
    }

    /// A sync of the journal took so long.
    pub fn sync(&self, took: Duration) {
        self.sync.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// What outboxes have done.
    pub fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    /// What clients of the Redis protocol do.
    pub fn redis(&self) -> &RedisFigures {
        &self.redis
    }

    /// How the table watches are.
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// How late deadlines lapsed since the process began.
    pub fn lateness(&self) -> Lateness {
        let of_micros = |micros: u64| Span::from_millis(micros.div_ceil(1_000));
        let bounds = LATENESS.iter().map(|&bound| Some(of_micros(bound))).chain([None]);
        Lateness {
            buckets: bounds.zip(self.lateness.counts()).collect(),
            max: of_micros(self.lateness.0.max.load(Ordering::Relaxed)),
        }
    }

    /// Everything, as `OpenMetrics` text; without what the engine counts when that cannot be asked.
    pub fn text(&self, engine: Option<(&ClockView, &[QueueView])>, health: Health) -> String {
        let mut registry = Registry::with_prefix("duly");
        registry.register(
            "build",
            "The program that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        if let Some((clock, queues)) = engine {
            register_queues(&mut registry, clock, queues);
            let is_guarded = u64::from(clock.guard.is_some());
            register_gauge(
                &mut registry,
                "clock_guard",
                "1 while the clock is not trusted",
                is_guarded,
            );
        }
        register_server(&mut registry, health);
        self.outboxes.register(&mut registry);
        self.redis.register(&mut registry);
        self.watches.register(&mut registry, engine.map(|(clock, _)| clock.now));
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "lateness",
            "How long after its lapse time a deadline lapsed",
            seconds(),
            self.lateness.clone(),
        );
        registry.register_with_unit(
            "fsync",
            "How long a sync of the journal took",
            seconds(),
            self.sync.clone(),
        );
        registry.register(
            "journal_bytes",
            "Bytes of records written to the journal",
            self.journal_bytes.clone(),
        );
        registry.register(
            "clock_sets",
            "Times that the machine told that its clock was set or that it woke up",
            self.clock_sets.clone(),
        );
        let mut text = String::new();
        encode(&mut text, &registry).expect("memory takes all text");
        text
    }
}

fn register_queues(registry: &mut Registry, clock: &ClockView, queues: &[QueueView]) {
    let deadlines = Gauges::default();
    let overdue = Gauges::default();
    let paused = Gauges::default();
    let dead = Gauges::default();
    let settled = Counters::default();
    let delivered = Counters::default();
    let counts: [(&str, &str, Count); 7] = [
        ("scheduled", "Generations scheduled", |queue| queue.total.scheduled),
        ("replaced", "Pending generations ended by replace", |queue| queue.total.replaced),
        ("lapsed", "Deadlines lapsed", |queue| queue.total.lapsed),
        ("too_late", "Settles answered too_late", |queue| queue.too_late),
        ("attempts", "Attempts begun", |queue| queue.total.attempts),
        ("retried", "Attempts that failed and were followed by another", |queue| {
            queue.total.retried
        }),
        ("revived", "Deliveries revived", |queue| queue.total.revived),
    ];
    let counters = counts.map(|_| Counters::default());
    for queue in queues {
        let name = || ("queue", queue.queue.to_string());
        let with = |label, value: &str| vec![name(), (label, value.to_owned())];
        let held = &queue.now;
        let states = [
            ("pending", held.pending),
            ("ready", held.ready),
            ("leased", held.leased),
            ("dead", held.dead),
        ];
        for (state, count) in states {
            deadlines.get_or_create(&with("state", state)).set(gauge(count));
        }
        dead.get_or_create(&vec![name()]).set(gauge(held.dead));
        let oldest = held.oldest_waiting.map_or(Span::ZERO, |due| clock.now.since(due));
        overdue.get_or_create(&vec![name()]).set(gauge(oldest.millis() / 1_000));
        paused.get_or_create(&with("what", "deliveries")).set(queue.paused.into());
        paused.get_or_create(&with("what", "lapses")).set(queue.lapse_paused.into());
        for (outcome, count) in &queue.total.settled {
            settled.get_or_create(&with("outcome", outcome.as_str())).inc_by(*count);
        }
        let verdicts = [
            ("done", queue.total.done),
            ("superseded", queue.total.superseded),
            ("dead", queue.total.died),
        ];
        for (verdict, count) in verdicts {
            delivered.get_or_create(&with("verdict", verdict)).inc_by(count);
        }
        for ((_, _, count), counter) in counts.iter().zip(&counters) {
            counter.get_or_create(&vec![name()]).inc_by(count(queue));
        }
    }
    registry.register("deadlines", "Deadlines held now, by state", deadlines);
    registry.register("dead_letters", "Deliveries given up and not yet revived or erased", dead);
    registry.register_with_unit(
        "oldest_overdue",
        "How long the earliest lapsed or overdue deadline has waited to be handed out",
        Unit::Seconds,
        overdue,
    );
    registry.register("paused", "1 while deliveries or lapses wait", paused);
    registry.register("settled", "Deadlines settled, by outcome", settled);
    registry.register("delivered", "Deliveries ended, by verdict", delivered);
    for ((name, help, _), counter) in counts.into_iter().zip(counters) {
        registry.register(name, help, counter);
    }
}

fn register_server(registry: &mut Registry, health: Health) {
    let spares = u64::try_from(health.spare_segments).unwrap_or(u64::MAX);
    let gauges = [
        ("ready", "1 while the server is ready", u64::from(health.ready && health.stall.is_none())),
        (
            "stalled",
            "1 while something is overdue and nothing moves",
            u64::from(health.stall.is_some()),
        ),
        ("journal_spare_segments", "Spare journal segments in reserve", spares),
        ("archive_lag_records", "Final records on their way to the archive", health.archive_lag),
    ];
    for (name, help, value) in gauges {
        register_gauge(registry, name, help, value);
    }
}

fn register_gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge_of = Gauge::<i64>::default();
    gauge_of.set(gauge(value));
    registry.register(name, help, gauge_of);
}

/// Prometheus' gauges are signed.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A histogram that can also be read back; in microseconds, shown in seconds.
#[derive(Clone)]
struct Histogram(Arc<Buckets>);

struct Buckets {
    bounds: &'static [u64],
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Histogram {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Histogram(Arc::new(Buckets {
            bounds,
            counts,
            sum: AtomicU64::default(),
            max: AtomicU64::default(),
        }))
    }

    fn observe(&self, micros: u64) {
        let place = self.0.bounds.partition_point(|&bound| bound < micros);
        self.0.counts[place].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(micros, Ordering::Relaxed);
        self.0.max.fetch_max(micros, Ordering::Relaxed);
    }

    fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.counts()).finish()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.0.bounds.iter().map(|&bound| seconds(bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts()).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.sum.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Microseconds in seconds.
fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use duly_engine::answer::{Held, Totals};
    use duly_engine::id::{Outcome, QueueName};
    use duly_engine::queue::Policy;
    use duly_engine::time::Time;

    use super::*;

    #[test]
    fn quantiles_are_bounds_of_their_buckets_and_never_beyond_the_latest() {
        let metrics = Metrics::default();
        assert_eq!(metrics.lateness().quantile(50), Span::ZERO);
        for late in [0, 1, 1, 2, 3] {
            metrics.lapse(Span::from_millis(late));
        }
        let lateness = metrics.lateness();
        assert_eq!(lateness.count(), 5);
        assert_eq!(lateness.quantile(50), Span::from_millis(1));
        assert_eq!(lateness.quantile(99), Span::from_millis(3));
        assert_eq!(lateness.max, Span::from_millis(3));
    }

    #[test]
    fn a_scrape_shows_every_queue_and_no_key() {
        let metrics = Metrics::default();
        metrics.lapse(Span::from_millis(3));
        metrics.sync(Duration::from_micros(700));
        metrics.wrote(4_096);
        let now = Time::from_millis(1_795_348_800_000);
        let clock = ClockView { now, wall: now, guard: None, recovery_until: now, behind: false };
        let paid = Outcome::new("paid").expect("it is a good outcome");
        let queue = QueueView {
            queue: QueueName::new("orders").expect("it is a good name"),
            policy: Policy::default(),
            declared: false,
            paused: true,
            lapse_paused: false,
            last_leased_at: None,
            shift: None,
            now: Held {
                pending: 3,
                dead: 1,
                oldest_waiting: Some(now.minus(Span::from_secs(9))),
                ..Held::default()
            },
            total: Totals { scheduled: 9, settled: [(paid, 5)].into(), ..Totals::default() },
            too_late: 0,
        };
        let health = Health { ready: true, stall: None, spare_segments: 4, archive_lag: 2 };
        let text = metrics.text(Some((&clock, &[queue])), health);
        for line in [
            r#"duly_deadlines{queue="orders",state="pending"} 3"#,
            r#"duly_scheduled_total{queue="orders"} 9"#,
            r#"duly_settled_total{queue="orders",outcome="paid"} 5"#,
            r#"duly_dead_letters{queue="orders"} 1"#,
            r#"duly_oldest_overdue_seconds{queue="orders"} 9"#,
            r#"duly_paused{queue="orders",what="deliveries"} 1"#,
            r#"duly_lateness_seconds_bucket{le="0.005"} 1"#,
            r#"duly_lateness_seconds_bucket{le="+Inf"} 1"#,
            r#"duly_fsync_seconds_bucket{le="0.001"} 1"#,
            "duly_journal_bytes_total 4096",
            "duly_archive_lag_records 2",
            "duly_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_server_that_stands_still_can_be_scraped() {
        let stall = Some(Stall::Journal);
        let health = Health { ready: true, stall, spare_segments: 4, archive_lag: 2 };
        let text = Metrics::default().text(None, health);
        assert!(text.contains("\nduly_stalled 1\n") && text.contains("\nduly_ready 0\n"), "{text}");
    }
}
