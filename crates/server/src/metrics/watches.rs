//! What table watches have done and how they are, for whoever shows it.
//!
//! A watch writes its figures here after every query; health checks and metrics read them. The two
//! never meet otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use duly_engine::time::Time;
use prometheus_client::registry::{Registry, Unit};

use super::observed::{Fate, Instead, Observed};
use super::{Counters, Gauges, gauge};

/// How one watch is and what it has done since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Only reports.
    pub observes: bool,
    /// Rows made into deadlines.
    pub armed: u64,
    /// Deadlines settled because their row was closed or gone.
    pub settled: u64,
    /// Deadlines whose row's due time had changed.
    pub moved: u64,
    /// Deadlines begun anew because their row was opened again.
    pub reopened: u64,
    /// What reconciling has found.
    pub drift: Drift,
    /// Rows that could not be read, of the last that were looked at.
    pub unreadable: u64,
    /// Queries sent to the database.
    pub queries: u64,
    /// Rows that came back.
    pub rows: u64,
    /// Every row created and committed before this has been seen.
    pub covered: Time,
    /// When the last reconciliation ended.
    pub reconciled_at: Option<Time>,
    /// What keeps it from its work.
    pub trouble: Option<Trouble>,
}

/// Where table and deadlines did not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Rows open without a deadline, which they were given; since the server started.
    pub unarmed: u64,
    /// Deadlines pending although their row was closed or gone, which were settled; likewise.
    pub closed: u64,
    /// Rows found without a deadline when it would have been over already; at the last reconciliation.
    pub overdue: u64,
    /// Rows open although their deadline is over; likewise.
    pub stuck: u64,
}

/// What keeps a watch from its work. The codes are stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The database does not answer, or not as it should; its words.
    Away(String),
    /// The table's times do not fit the server's clock.
    ClockMismatch(String),
    /// More rows than `max_per_minute`; arming goes on with the next minute.
    TooManyRows,
    /// More deadlines about to lapse than `max_per_minute`; lapses are paused.
    TooManyLapses,
    /// A deadline was refused; the code of the refusal.
    Refused(&'static str),
}

impl Trouble {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Trouble::Away(_) => "watch_database_away",
            Trouble::ClockMismatch(_) => "watch_clock_mismatch",
            Trouble::TooManyRows => "watch_too_many_rows",
            Trouble::TooManyLapses => "watch_too_many_lapses",
            Trouble::Refused(_) => "watch_refused",
        }
    }

    /// The same for people.
    pub fn sentence(&self) -> String {
        match self {
            Trouble::Away(why) => format!("the database cannot be asked: {why}"),
            Trouble::ClockMismatch(why) => why.clone(),
            Trouble::TooManyRows => {
                "more new rows than max_per_minute; the others wait for the next minute".to_owned()
            }
            Trouble::TooManyLapses => {
                "more deadlines would lapse than max_per_minute; lapses are paused until \
                 `duly resume --lapses`"
                    .to_owned()
            }
            Trouble::Refused(code) => format!("the server takes no new deadlines: {code}"),
        }
    }
}

type Figure = fn(&WatchFigures) -> u64;

/// What is known of one watch.
#[derive(Clone, Debug, Default)]
struct Known {
    figures: WatchFigures,
    observed: Option<Arc<Observed>>,
}

/// What is known of all watches by name; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<BTreeMap<String, Known>>>);

impl Watches {
    /// Writes down how a watch is.
    pub fn set(&self, name: &str, figures: &WatchFigures) {
        self.with(name, |known| known.figures.clone_from(figures));
    }

    /// Writes down what a watch that only observes has seen.
    pub fn report(&self, name: &str, observed: Observed) {
        self.with(name, |known| known.observed = Some(Arc::new(observed)));
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Known)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(name) {
            change(known);
        } else {
            change(all.entry(name.to_owned()).or_default());
        }
    }

    /// Adds the figures of all watches; how far behind they are only where the time is known.
    pub(super) fn register(&self, registry: &mut Registry, now: Option<Time>) {
        let counts: [(&str, &str, Figure); 8] = [
            ("watch_armed", "Rows made into deadlines", |it| it.armed),
            ("watch_settled", "Deadlines settled because their row was closed or gone", |it| {
                it.settled
            }),
            ("watch_moved", "Deadlines whose row's due time had changed", |it| it.moved),
            ("watch_reopened", "Deadlines begun anew because their row was opened again", |it| {
                it.reopened
            }),
            ("watch_drift_unarmed", "Rows without a deadline that reconciling found", |it| {
                it.drift.unarmed
            }),
            ("watch_drift_closed", "Deadlines without an open row that reconciling found", |it| {
                it.drift.closed
            }),
            ("watch_queries", "Queries sent to the database of a watch", |it| it.queries),
            ("watch_rows", "Rows that came back", |it| it.rows),
        ];
        let gauges: [(&str, &str, Figure); 4] = [
            ("watch_drift_overdue", "Rows without a deadline, overdue and left alone", |it| {
                it.drift.overdue
            }),
            ("watch_drift_stuck", "Rows still open although their deadline is over", |it| {
                it.drift.stuck
            }),
            ("watch_unreadable_rows", "Rows that no deadline can be made of", |it| it.unreadable),
            ("watch_trouble", "1 while something keeps a watch from its work", |it| {
                u64::from(it.trouble.is_some())
            }),
        ];
        self.register_observed(registry);
        let all = self.all();
        if all.is_empty() {
            return;
        }
        let labels = |name: &String| vec![("watch", name.clone())];
        for (metric, help, count) in counts {
            let family = Counters::default();
            for (name, figures) in &all {
                family.get_or_create(&labels(name)).inc_by(count(figures));
            }
            registry.register(metric, help, family);
        }
        for (metric, help, count) in gauges {
            let family = Gauges::default();
            for (name, figures) in &all {
                family.get_or_create(&labels(name)).set(gauge(count(figures)));
            }
            registry.register(metric, help, family);
        }
        if let Some(now) = now {
            let family = Gauges::default();
            for (name, figures) in &all {
                let lag = now.since(figures.covered).millis() / 1_000;
                family.get_or_create(&labels(name)).set(gauge(lag));
            }
            let help = "How long ago every committed row had been seen";
            registry.register_with_unit("watch_lag", help, Unit::Seconds, family);
        }
    }

    /// How they all are.
    pub fn all(&self) -> BTreeMap<String, WatchFigures> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, known)| (name.clone(), known.figures.clone())).collect()
    }

    /// What those have seen that only observe.
    pub fn observed(&self) -> BTreeMap<String, Arc<Observed>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |(name, known): (&String, &Known)| {
            Some((name.clone(), Arc::clone(known.observed.as_ref()?)))
        };
        all.iter().filter_map(seen).collect()
    }

    /// Gauges and not counters: a row may leave one fate for another.
    fn register_observed(&self, registry: &mut Registry) {
        let all = self.observed();
        if all.is_empty() {
            return;
        }
        let (rows, instead) = (Gauges::default(), Gauges::default());
        let late = Gauges::default();
        for (name, observed) in &all {
            let set = |family: &Gauges, label, value: &str, count| {
                let labels = vec![("watch", name.clone()), (label, value.to_owned())];
                family.get_or_create(&labels).set(gauge(count));
            };
            for fate in Fate::ALL {
                set(&rows, "fate", fate.word(), observed.count(fate));
            }
            set(&rows, "fate", "overdue", observed.overdue.count);
            for what in Instead::ALL {
                set(&instead, "what", what.word(), observed.instead(what));
            }
            for percent in [50, 90, 99, 100] {
                let late_ms = observed.delays.quantile(percent).millis();
                set(&late, "percent", &percent.to_string(), late_ms);
            }
        }
        let help = "Rows that a watch has observed, by what others did with them";
        registry.register("watch_observed", help, rows);
        let help = "Rows that a watch has observed, by what Duly would have done with them";
        registry.register("watch_observed_instead", help, instead);
        let help = "So many of a hundred rows were closed by others no later than this";
        registry.register("watch_observed_late_ms", help, late);
    }
}
