//! Is there an order? The linearizability checker.
//!
//! Clients ask at the same time, servers die before they answer, and yet everything that was told
//! must look as if each operation had happened at one instant between its question and its answer.
//! Keys are independent of each other, so each is judged alone; a history is linearizable when each
//! of its keys is. [`key`] says what one key may do, [`search`] looks for an order, [`explain`]
//! shows a human why there is none. What cannot be decided within the bounds is a failure too.
//!
//! This judges histories and knows nothing of the engine; whether anything *happens* at all (that
//! every lapse is delivered in the end) is not its business.

mod explain;
mod key;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;

use crate::counters::Counters;
use crate::history::{History, Operation, Rules};
use search::Found;

/// What came of a history.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Operations that were judged.
    pub(crate) operations: u64,
    /// Of these, without an answer.
    pub(crate) unanswered: u64,
    /// Keys they were about.
    pub(crate) keys: u64,
    /// The most ways in which one key may have been at one time.
    pub(crate) widest: u64,
    /// The keys without an order, and those that could not be decided, each with its explanation.
    pub(crate) troubles: Vec<String>,
}

impl Judgement {
    /// Counts it and says what is broken.
    pub(crate) fn count(&self, counters: &mut Counters) {
        counters.add("linearizable_operations", self.operations);
        counters.add("unanswered", self.unanswered);
        counters.add("keys", self.keys);
        for trouble in &self.troubles {
            counters.violation(trouble);
        }
    }
}

/// Judges a history, key by key.
pub(crate) fn check(history: &History) -> Judgement {
    let mut keys: BTreeMap<(&str, &str), Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry((&operation.queue, &operation.key)).or_default().push(operation);
    }
    let nothing_special = Rules::default();
    let mut judgement = Judgement::default();
    for ((queue, _), operations) in &mut keys {
        operations.sort_by_key(|operation| operation.asked_at.tick);
        let rules = history.rules.get(*queue).unwrap_or(&nothing_special);
        judgement.keys += 1;
        judgement.operations += operations.len() as u64;
        let unanswered = operations.iter().filter(|operation| operation.told.is_none());
        judgement.unanswered += unanswered.count() as u64;
        match search::search(operations, rules) {
            Found::Order { widest } => judgement.widest = judgement.widest.max(widest as u64),
            Found::NoOrder(stuck) => {
                judgement.troubles.push(explain::no_order(operations, &stuck));
            }
            Found::Undecided { at } => {
                judgement.troubles.push(explain::undecided(operations, at));
            }
        }
    }
    judgement
}

/// Judges a history in a file.
pub(crate) fn run(file: &Path) -> anyhow::Result<Counters> {
    let read = || History::read(BufReader::new(File::open(file)?));
    let history = read().with_context(|| file.display().to_string())?;
    let mut counters = Counters::new("history");
    counters.floor("linearizable_operations", 1);
    check(&history).count(&mut counters);
    Ok(counters)
}
