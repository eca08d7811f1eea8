//! Bringing near what is about to be used.
//!
//! Among a million records each step of finding one (its place in the index, the record, its key or
//! its story) is likely to wait for memory, a hundred times as long as it works. One after the other
//! these waits add up; taken step by step for many records at once, the processor waits for all of
//! them side by side. So whoever is going to work through many has them touched first, some at a
//! time. It changes nothing and decides nothing: leaving it out gives the same answers, later.

use std::hint::black_box;

use super::State;
use super::index::{Index, hash_number};
use crate::command::Command;
use crate::fact::Fact;

/// So many at a time: enough to wait side by side, and few enough to be near still when used.
pub(crate) const TOGETHER: usize = 32;

impl State {
    /// Brings near the records that the first of these commands are about.
    pub(crate) fn bring_near<'a>(&self, commands: impl ExactSizeIterator<Item = &'a Command>) {
        if commands.len() < 2 {
            // Nothing to wait for side by side.
            return;
        }
        let mut hashes = [None; TOGETHER];
        for (hash, command) in hashes.iter_mut().zip(commands) {
            *hash = match (command.address(), command) {
                (Some(at), _) => {
                    self.queue_no(&at.queue).map(|no| (&self.by_key, self.key_hash(no, &at.key)))
                }
                (None, Command::Verdict { delivery, .. } | Command::Touch { delivery, .. }) => {
                    Some((&self.by_id, hash_number(delivery.deadline.0)))
                }
                (None, _) => None,
            };
        }
        self.bring_found_near(&hashes);
    }

    /// The same for the records that these facts begin or are about.
    pub(crate) fn bring_facts_near<'a>(&self, facts: impl Iterator<Item = &'a Fact>) {
        let mut hashes = [None; 2 * TOGETHER];
        let found = facts.flat_map(|fact| {
            let (key, id) = match fact {
                Fact::Scheduled { queue, key, id, .. } => (Some((*queue, key)), Some(*id)),
                other => (None, other.about()),
            };
            let by_key = key.map(|(queue, key)| (&self.by_key, self.key_hash(queue, key)));
            by_key.into_iter().chain(id.map(|id| (&self.by_id, hash_number(id.0))))
        });
        for (place, hash) in hashes.iter_mut().zip(found) {
            *place = Some(hash);
        }
        self.bring_found_near(&hashes);
    }

    /// The same for what these hashes stand for.
    fn bring_found_near(&self, hashes: &[Option<(&Index, u64)>]) {
        let hashes = hashes.iter().flatten();
        // How far a search goes is a guess, and a wrong one waits: first where each begins.
        let begun = hashes.clone().map(|(index, hash)| index.beginning(*hash));
        black_box(begun.fold(0, |all, begun| all ^ begun));
        self.bring_slots_near(hashes.filter_map(|(index, hash)| index.candidate(*hash)));
    }

    /// The same for the records in these slots.
    pub(crate) fn bring_slots_near(&self, slots: impl Iterator<Item = u32>) {
        let mut some = [None; TOGETHER];
        for (place, slot) in some.iter_mut().zip(slots) {
            *place = Some(slot);
        }
        let found = || some.iter().flatten().filter_map(|slot| self.records.get(*slot));
        // A record lies on two lines of the cache: its number on the first, its times on the second.
        let ends = found().map(|live| live.id.0 ^ live.due().millis());
        black_box(ends.fold(0, |all, end| all ^ end));
        let words = found().map(|live| {
            let begun = self.keys.bytes(live.key).first().copied().unwrap_or_default();
            u32::from(begun) ^ live.attempts()
        });
        black_box(words.fold(0, |all, word| all ^ word));
    }
}
