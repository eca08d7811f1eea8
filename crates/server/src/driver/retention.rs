//! How long the archive keeps what, by queue, and the sweeping of what is older.

use duly_engine::id::QueueName;
use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};
use duly_store::Error;
use duly_store::archive::Writer;

/// Records deleted, and payloads dropped, in one slice at most.
const SLICE: usize = 2_000;

/// One round of sweeping: which queues are still to be done, and by which rules.
#[derive(Clone, Debug)]
pub struct Retention {
    now: Time,
    rules: Vec<(QueueName, Span, Span)>,
    /// Queues that exist no more are found once, at the beginning.
    complete: bool,
}

impl Retention {
    /// A round at `now` by the policies of the queues there are.
    pub(super) fn new<'a>(
        now: Time,
        queues: impl Iterator<Item = (&'a QueueName, &'a Policy)>,
    ) -> Retention {
        let rules = queues
            .map(|(name, policy)| (name.clone(), policy.retention, policy.payload_retention))
            .collect();
        Retention { now, rules, complete: false }
    }

    /// The time of this round.
    pub fn now(&self) -> Time {
        self.now
    }

    /// For each queue there is, how long its records are kept, and how long their payloads.
    pub fn rules(&self) -> &[(QueueName, Span, Span)] {
        &self.rules
    }

    /// Does a slice; false when the round is over.
    pub(super) fn sweep(&mut self, archive: &mut Writer) -> Result<bool, Error> {
        if !self.complete {
            let rest = Policy::default();
            for name in archive.queues()? {
                if self.rules.iter().all(|(known, ..)| *known != name) {
                    self.rules.push((name, rest.retention, rest.payload_retention));
                }
            }
            self.complete = true;
        }
        let Some((queue, retention, payload_retention)) = self.rules.last() else {
            return Ok(false);
        };
        if archive.sweep(queue, self.now, *retention, *payload_retention, SLICE)?.is_done {
            self.rules.pop();
        }
        Ok(!self.rules.is_empty())
    }
}
