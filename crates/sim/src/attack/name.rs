//! Which deadline: a number, from which its queue, its key and its payload follow.
//!
//! So whoever meets a deadline anywhere, in a record, in a webhook or in a lease, knows what it must
//! look like, and nobody has to remember payloads.

use serde_json::{Value, json};

use crate::dice::Dice;

/// The queue whose lapses are webhooks.
pub(super) const HOOKS: &str = "hooks";
/// The queue whose lapses are leased by workers.
pub(super) const WORKERS: &str = "workers";
/// The queue whose lapses nobody acts on.
pub(super) const QUIET: &str = "quiet";

/// One deadline of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(pub(super) u64);

impl Name {
    /// The one that this queue and key mean.
    pub(super) fn of(queue: &str, key: &str) -> Option<Name> {
        let name = Name(key.strip_prefix("order-")?.parse().ok()?);
        (name.queue() == queue).then_some(name)
    }

    /// Its queue.
    pub(super) fn queue(self) -> &'static str {
        [HOOKS, WORKERS, HOOKS, QUIET][usize::from(self.0.to_le_bytes()[0] % 4)]
    }

    /// Is it set again and again, by anybody? Its generations come and go: the linearizability checker
    /// alone knows what it may be.
    pub(super) fn is_set_again(self) -> bool {
        self.queue() == QUIET && (self.0 / 4).is_multiple_of(4)
    }

    /// Its key.
    pub(super) fn key(self) -> String {
        format!("order-{}", self.0)
    }

    /// Its payload: most are small, some large enough to fill segments.
    pub(super) fn payload(self) -> Value {
        let length = if Dice::new(self.0).next().is_multiple_of(4) { 3_000 } else { 20 };
        json!({ "order": self.0, "pad": "x".repeat(length) })
    }

    /// Its address.
    pub(super) fn path(self) -> String {
        format!("/v1/queues/{}/deadlines/{}", self.queue(), self.key())
    }
}
