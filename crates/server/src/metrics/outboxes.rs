//! What outboxes have done and how they are, for whoever shows it.
//!
//! An outbox writes its figures here after every round; health checks and metrics read them. The two
//! never meet otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

use super::{Counters, Gauges, gauge};

/// How one outbox is and what it has done since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxFigures {
    /// Rows carried out.
    pub done: u64,
    /// Rows refused, which stay with their answer.
    pub refused: u64,
    /// Rows that waited when it was looked last, as far as one round sees.
    pub waiting: u64,
    /// What keeps it from its work.
    pub trouble: Option<String>,
}

/// The figures of all outboxes by name; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Outboxes(Arc<Mutex<BTreeMap<String, OutboxFigures>>>);

impl Outboxes {
    /// Writes down how an outbox is.
    pub fn set(&self, name: &str, figures: &OutboxFigures) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), figures.clone());
    }

    /// How they all are.
    pub fn all(&self) -> BTreeMap<String, OutboxFigures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let (rows, waiting, trouble) = (Counters::default(), Gauges::default(), Gauges::default());
        for (name, figures) in self.all() {
            let outbox = || ("outbox", name.clone());
            for (result, count) in [("done", figures.done), ("refused", figures.refused)] {
                let labels = vec![outbox(), ("result", result.to_owned())];
                rows.get_or_create(&labels).inc_by(count);
            }
            waiting.get_or_create(&vec![outbox()]).set(gauge(figures.waiting));
            trouble.get_or_create(&vec![outbox()]).set(figures.trouble.is_some().into());
        }
        registry.register("outbox_rows", "Rows taken from an outbox, by what came of them", rows);
        registry.register(
            "outbox_waiting",
            "Rows that waited in an outbox at the last look",
            waiting,
        );
        registry.register("outbox_trouble", "1 while an outbox cannot be emptied", trouble);
    }
}
