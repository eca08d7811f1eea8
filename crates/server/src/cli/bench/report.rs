//! What comes out: one table for people, the same figures as JSON for machines.
//!
//! A figure that a measurement does not have is left out, never guessed. Latencies are exact (every
//! one is kept and sorted), except the server's own lateness, which is a histogram's bucket bound.

use std::time::Duration;

use serde::Serialize;

use super::super::print::{Output, Tone};
use super::super::table::{Cell, Table};
use super::measure::Over;
use super::meter::{Limit, Spent};

/// Over the columns of the table.
const HEADINGS: [&str; 11] = [
    "MEASURED",
    "COUNT",
    "A SECOND",
    "P50 MS",
    "P99 MS",
    "MAX MS",
    "SERVER µs",
    "GENERATOR µs",
    "JOURNAL B",
    "A SYNC",
    "RESULT, OR WHO HELD IT UP",
];

/// Everything that was measured, and where.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of the server.
    pub version: &'static str,
    /// Kernel and processors.
    pub machine: String,
    /// Load average of the last minute, before and after.
    pub load: [String; 2],
    /// How long a sync of this disk takes by itself, in milliseconds: median and 99 %.
    pub disk_sync_ms: [f64; 2],
    /// How the server was spoken to.
    pub over: Over,
    /// Was it the short run?
    pub quick: bool,
    /// The rows of the table.
    pub rows: Vec<Row>,
}

/// One row of the table.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// Stable, for machines.
    pub name: &'static str,
    /// What was done.
    pub measured: String,
    /// How many deadlines it was done with.
    pub count: u64,
    /// How many a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// How long one request took, or how late one deadline was.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// What it cost.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// What is asked for when it is not a rate.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
}

/// The spread of many times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Half of them were not longer.
    pub p50_ms: f64,
    /// 99 of 100 were not longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What each deadline cost, and who held the work up.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Processor time of the server per deadline, in microseconds; archiving included.
    pub server_us: f64,
    /// The same of the generator.
    pub generator_us: f64,
    /// Bytes of the journal per deadline.
    pub journal_bytes: f64,
    /// Deadlines that shared a disk sync.
    pub per_sync: f64,
    /// `disk`, `processors: server`, `processors: generator`, `processors: others`, `hand-overs` or
    /// `paced`.
    pub held_up_by: &'static str,
    /// Shares of all processors' time: server, generator, everybody else.
    pub processor_shares: [f64; 3],
    /// Share of the time that a sync was under way.
    pub sync_share: f64,
}

/// The figure of a row that measures no rate.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// Memory of the server for each pending deadline.
    Memory {
        /// What it grew by, in bytes.
        bytes_each: f64,
        /// What a restarted server has beyond an empty one, in bytes.
        restarted_bytes_each: f64,
    },
    /// How long a start took.
    Ready {
        /// From the start of the process until `/readyz` said yes, in milliseconds.
        ready_ms: f64,
    },
    /// How long a crowd took.
    AllDone {
        /// From the time they were due until the last verdict was acknowledged, in milliseconds.
        all_done_ms: f64,
    },
}

impl Times {
    /// The spread of these; none when there are none.
    pub(super) fn of(mut times: Vec<Duration>) -> Option<Times> {
        times.sort_unstable();
        let last = times.last()?;
        let quantile = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Some(Times {
            p50_ms: millis(quantile(50)),
            p99_ms: millis(quantile(99)),
            max_ms: millis(*last),
        })
    }
}

impl Cost {
    /// What each of `count` cost: `spent` until all was told and archived, `limit` while it went on.
    pub(super) fn of(spent: &Spent, limit: &Limit, count: u64) -> Cost {
        let count = number(count).max(1.0);
        let micros = |time: Duration| round(time.as_secs_f64() * 1e6 / count);
        Cost {
            server_us: micros(spent.server),
            generator_us: micros(spent.generator),
            journal_bytes: round(spent.journal_bytes / count),
            per_sync: round(count / spent.syncs.max(1.0)),
            held_up_by: limit.word(),
            processor_shares: [limit.server, limit.generator, limit.others].map(round),
            sync_share: round(limit.syncing),
        }
    }
}

impl Cost {
    /// The same of work that came at a pace of its own: nobody held it up.
    pub(super) fn of_paced(spent: &Spent, count: u64) -> Cost {
        Cost { held_up_by: "paced", ..Cost::of(spent, &spent.limit(), count) }
    }
}

impl Report {
    /// The report for people.
    pub(super) fn text(&self, output: Output) -> String {
        let [before, after] = &self.load;
        let [median, most] = self.disk_sync_ms;
        let heading = format!(
            "duly {} over {} · {} · load {before} before, {after} after\n\
             a sync of this disk by itself: {median} ms, 99 of 100 within {most} ms\n\n",
            self.version,
            self.over.shown(),
            self.machine
        );
        let mut table = Table::new(&HEADINGS, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for row in &self.rows {
            table.row(row.cells());
        }
        heading + &table.render(output)
    }
}

impl Row {
    fn cells(&self) -> Vec<Cell> {
        let whole = |value: Option<f64>| value.map_or_else(String::new, |value| grouped(value, 0));
        let fine = |value: Option<f64>| value.map_or_else(String::new, |value| grouped(value, 2));
        let cost = self.cost.as_ref();
        let plain = |text: String| (text, Tone::Plain);
        vec![
            (self.measured.clone(), Tone::Strong),
            plain(whole(Some(number(self.count)))),
            plain(whole(self.per_second)),
            plain(fine(self.times.map(|times| times.p50_ms))),
            plain(fine(self.times.map(|times| times.p99_ms))),
            plain(fine(self.times.map(|times| times.max_ms))),
            plain(fine(cost.map(|cost| cost.server_us))),
            plain(fine(cost.map(|cost| cost.generator_us))),
            plain(whole(cost.map(|cost| cost.journal_bytes))),
            plain(whole(cost.map(|cost| cost.per_sync))),
            plain(self.remark()),
        ]
    }

    fn remark(&self) -> String {
        let figure = self.figure.map(|figure| match figure {
            Figure::Memory { bytes_each, restarted_bytes_each } => {
                format!(
                    "{bytes_each:.0} B of memory each, {restarted_bytes_each:.0} B after a restart"
                )
            }
            Figure::Ready { ready_ms } => format!("ready after {} ms", grouped(ready_ms, 0)),
            Figure::AllDone { all_done_ms } => {
                format!("all done after {} ms", grouped(all_done_ms, 0))
            }
        });
        let cost = self.cost.map(|cost| {
            let percent = |share: f64| format!("{:.0} %", share * 100.0);
            let [server, generator, others] = cost.processor_shares.map(percent);
            format!(
                "{} (server {server}, generator {generator}, others {others}; syncing {})",
                cost.held_up_by,
                percent(cost.sync_share)
            )
        });
        figure.into_iter().chain(cost).collect::<Vec<_>>().join("; ")
    }
}

/// `1234567.891` is `1,234,567.89`.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Exact up to four thousand million, which is more than a measurement counts.
pub(super) fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// In milliseconds, to the microsecond.
pub(super) fn millis(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1e3)
}

/// To three places: more would claim what was not measured.
pub(super) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times = Times::of(ms(&[4, 1, 3, 2])).expect("there are some");
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (2.0, 4.0, 4.0));
        let times = Times::of(ms(&(1..=200).collect::<Vec<_>>())).expect("there are some");
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (100.0, 198.0, 200.0));
        assert!(Times::of(Vec::new()).is_none());
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(1_000.0, 0), "1,000");
    }

    #[test]
    fn a_row_says_only_what_was_measured() {
        let row = Row {
            name: "restart",
            measured: "restart".to_owned(),
            count: 5,
            figure: Some(Figure::Ready { ready_ms: 1_234.5 }),
            ..Row::default()
        };
        let texts: Vec<String> = row.cells().into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts[..4], ["restart", "5", "", ""]);
        assert!(texts[10].starts_with("ready after 1,23"), "{}", texts[10]);
        let json = serde_json::to_value(&row).expect("it is plain");
        assert_eq!(
            json,
            serde_json::json!({
                "name": "restart", "measured": "restart", "count": 5, "ready_ms": 1_234.5
            })
        );
    }
}
