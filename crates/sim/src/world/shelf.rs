//! An archive in memory: what the driver sees of the real one, and nothing of `SQLite`.
//!
//! A transaction is all or nothing and durable when it is committed; one that is begun when the
//! power goes is lost or, at the very end of its commit, just made. It keeps every final record by
//! number and finds the latest of a (queue, key), sweeps by the policies' retention, and knows how
//! far it has come. The real archive meets kills and power cuts of its own elsewhere.

use std::collections::BTreeMap;

use duly::driver::Retention;
use duly_engine::answer::{Known, Wanted};
use duly_engine::command::Address;
use duly_engine::deadline::{Deadline, PayloadAt};
use duly_engine::id::{DeadlineId, Generation, QueueName, Seq};
use duly_engine::queue::Policy;
use duly_store::archive::{Filter, Item};

/// What the archive holds durably.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    records: BTreeMap<(DeadlineId, Generation), Deadline>,
    /// The latest number a key was given, and those before it.
    by_key: BTreeMap<Address, Vec<DeadlineId>>,
    applied: Seq,
    /// Records that retention has let go.
    pub(crate) swept: u64,
    /// Payloads that it has dropped.
    pub(crate) dropped: u64,
}

/// Items on their way into the archive.
pub(crate) struct Transaction {
    items: Vec<Item>,
    through: Seq,
}

impl Transaction {
    /// What takes the archive up to this fact.
    pub(crate) fn new(items: Vec<Item>, through: Seq) -> Transaction {
        Transaction { items, through }
    }
}

impl Shelf {
    /// Everything final up to this fact is here.
    pub(crate) fn applied(&self) -> Seq {
        self.applied
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The keys that may be found.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Address> {
        self.by_key.keys()
    }

    /// Commits; what has been applied is skipped when it comes again.
    pub(crate) fn commit(&mut self, transaction: Transaction, filter: &Filter) {
        let Transaction { items, through } = transaction;
        for item in items {
            if item.seq() <= self.applied {
                continue;
            }
            match item {
                Item::Keep(last) => {
                    let deadline = last.deadline;
                    filter.insert(deadline.queue.as_str(), deadline.key.as_str());
                    let at = Address { queue: deadline.queue.clone(), key: deadline.key.clone() };
                    let numbers = self.by_key.entry(at).or_default();
                    if !numbers.contains(&deadline.id) {
                        numbers.push(deadline.id);
                    }
                    let named = (deadline.id, deadline.generation);
                    self.records.entry(named).or_insert(deadline);
                }
                Item::Erase { id, .. } => {
                    let all = (id, Generation(0))..=(id, Generation(u32::MAX));
                    let gone: Vec<_> = self.records.range(all).map(|(named, _)| *named).collect();
                    for named in gone {
                        self.remove(named);
                    }
                }
            }
        }
        self.applied = self.applied.max(through);
    }

    /// What the engine wants to know before it decides.
    pub(crate) fn look_up(&self, wanted: &Wanted) -> Known {
        let found = match wanted {
            Wanted::Key(at) => self.latest(at),
            Wanted::Id(id, generation) => self.records.get(&(*id, *generation)),
        };
        found.map_or(Known::Absent, |found| Known::Archived(Box::new(found.clone())))
    }

    /// One generation of a deadline.
    pub(crate) fn get(&self, id: DeadlineId, generation: Generation) -> Option<&Deadline> {
        self.records.get(&(id, generation))
    }

    fn latest(&self, at: &Address) -> Option<&Deadline> {
        let id = *self.by_key.get(at)?.iter().max()?;
        let all = (id, Generation(0))..=(id, Generation(u32::MAX));
        self.records.range(all).next_back().map(|(_, deadline)| deadline)
    }

    /// Lets go of what is older than its queue's policy wants it kept.
    pub(crate) fn sweep(&mut self, retention: &Retention) {
        let rest = Policy::default();
        let rule = |queue: &QueueName| {
            let known = retention.rules().iter().find(|(name, ..)| name == queue);
            known.map_or((rest.retention, rest.payload_retention), |(_, kept, with)| (*kept, *with))
        };
        let now = retention.now();
        let mut gone = Vec::new();
        for (named, deadline) in &mut self.records {
            let Some(finished_at) = deadline.finished_at() else { continue };
            let (kept, with_payload) = rule(&deadline.queue);
            if finished_at < now.minus(kept) {
                gone.push(*named);
            } else if finished_at < now.minus(with_payload)
                && matches!(deadline.payload, PayloadAt::Here(_))
            {
                deadline.payload = PayloadAt::Gone;
                self.dropped += 1;
            }
        }
        self.swept += gone.len() as u64;
        for named in gone {
            self.remove(named);
        }
    }

    fn remove(&mut self, named: (DeadlineId, Generation)) {
        let Some(deadline) = self.records.remove(&named) else { return };
        let all = (named.0, Generation(0))..=(named.0, Generation(u32::MAX));
        if self.records.range(all).next().is_none() {
            let at = Address { queue: deadline.queue, key: deadline.key };
            if let Some(numbers) = self.by_key.get_mut(&at) {
                numbers.retain(|number| *number != named.0);
                if numbers.is_empty() {
                    self.by_key.remove(&at);
                }
            }
        }
    }
}
