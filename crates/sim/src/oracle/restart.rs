//! After the end of a process: what must be there, and what may not.
//!
//! Whatever anybody was told is on the disk, record by record, with the bytes that were made. What
//! was made and not told may be there, as far as it goes without a gap. Nothing else is there.

use super::facts::digest_of;
use super::{Oracle, Promise};
use crate::markers::Marker;
use crate::world::Written;

impl Oracle {
    /// A process is about to begin over these records; the oldest may be gone, cleaned away.
    pub(crate) fn survived(&mut self, survivors: Vec<Written>) {
        let next_seq = self.model.seq + 1;
        let mut expected = next_seq;
        for written in survivors {
            if written.first_seq < next_seq {
                self.is_the_same(&written);
                continue;
            }
            let Some(made) = self.pending.pop_front() else {
                let what = format!("a record of fact {} that was never made", written.first_seq);
                return self.violated(Promise::DurableBeforeTold, what);
            };
            let same = made.written == written;
            self.must(Promise::Order, same, || {
                format!(
                    "the record of fact {} is not what was made: it begins with {}",
                    written.first_seq, made.written.first_seq
                )
            });
            self.mark(Marker::UntoldSurvives);
            self.take(made);
            expected = self.model.seq + 1;
        }
        let told = self.told;
        self.must(Promise::DurableBeforeTold, expected > told, || {
            format!("fact {told} was told, and facts end with {}", expected - 1)
        });
        if !self.pending.is_empty() {
            self.mark(Marker::UntoldLost);
        }
        self.pending.clear();
        self.clock_restarts();
    }

    fn is_the_same(&mut self, written: &Written) {
        let found = self.records.binary_search_by_key(&written.first_seq, |(seq, _)| *seq);
        let same = found.is_ok_and(|index| self.records[index].1 == digest_of(&written.facts));
        self.must(Promise::NothingVanishes, same, || {
            format!("the record of fact {} has changed", written.first_seq)
        });
    }

    /// The journal was found to end at this fact: nothing that is told is behind it.
    pub(crate) fn found_end(&mut self, next_seq: u64) {
        let known = self.model.seq + 1;
        self.must(Promise::DurableBeforeTold, next_seq == known, || {
            format!("the journal opened with next fact {next_seq}, {known} is next")
        });
    }
}
