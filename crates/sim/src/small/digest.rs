//! A journal read back, and one number for the whole state that comes of it.
//!
//! The number covers every live record (stated anew, payload and timeline included), every remembered
//! settle, everything that is not a deadline (the base fact), and what is final. Two states with the
//! same number answer every question alike.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use duly_engine::effect::Effect;
use duly_engine::id::DirectoryId;
use duly_engine::limits::Limits;
use duly_engine::time::Time;
use duly_engine::{Engine, Replayed};
use duly_store::disk::MemoryDisk;
use duly_store::journal::{self, Kind, Options, RecordView, ReplayFault, Report};
use duly_store::{Directory, Error, FreshIdentity};

use super::server::SMALL;

/// The bytes of a record before its facts.
const RECORD_HEADER: u32 = 56;

/// Nobody gets a new identity here.
const NOBODY: FreshIdentity = FreshIdentity { id: [0; 8], hash_seed: [0; 16] };

/// A record as it lies in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) segment: u32,
    facts_offset: u32,
    pub(crate) first_seq: u64,
    count: u32,
    time_ms: u64,
    pub(crate) durable_seq: u64,
    pub(crate) kind: Kind,
    facts: Vec<u8>,
}

impl Record {
    fn of(record: RecordView<'_>) -> Record {
        Record {
            segment: record.segment,
            facts_offset: record.offset_of_facts,
            first_seq: record.first_seq,
            count: record.count,
            time_ms: record.time_ms,
            durable_seq: record.durable_seq,
            kind: record.kind,
            facts: record.facts.to_vec(),
        }
    }

    /// Where it begins in its segment, in bytes.
    pub(crate) fn start(&self) -> u64 {
        u64::from(self.facts_offset - RECORD_HEADER)
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        (u64::from(self.facts_offset) + self.facts.len() as u64).next_multiple_of(8)
    }

    /// The sequence after its last.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count)
    }

    fn replayed(&self) -> Replayed<'_> {
        Replayed {
            segment: self.segment,
            facts_offset: self.facts_offset,
            first_seq: self.first_seq,
            at: Time::from_millis(self.time_ms),
            facts: &self.facts,
        }
    }
}

/// What came of opening a journal.
pub(crate) struct ReadBack {
    pub(crate) report: Report,
    pub(crate) records: Vec<Record>,
    pub(crate) digest: u64,
}

/// Opens the journal of a disk, as the server does, and replays it.
pub(crate) fn read_back(disk: &MemoryDisk) -> Result<ReadBack, Error> {
    let directory = Directory::open(Arc::new(disk.clone()), NOBODY)?;
    let mut state = State::new(directory.id());
    let mut records = Vec::new();
    let mut replay = |record: RecordView<'_>| {
        let record = Record::of(record);
        state.replay(&record).map_err(ReplayFault)?;
        records.push(record);
        Ok(())
    };
    let options = Options { segment_bytes: SMALL.segment_bytes, reserve: SMALL.reserve };
    let report = journal::open(&directory, options, &mut replay)?.report;
    let digest = state.digest(&records);
    Ok(ReadBack { report, records, digest })
}

/// The number of the state that these records lead to, without any disk.
pub(crate) fn digest_of(id: [u8; 8], records: &[Record]) -> u64 {
    let mut state = State::new(id);
    for record in records {
        state.replay(record).expect("the same records were replayed before");
    }
    state.digest(records)
}

struct State {
    engine: Engine,
    /// What became final, in that order.
    finals: DefaultHasher,
}

impl State {
    fn new(id: [u8; 8]) -> State {
        let directory = DirectoryId(u64::from_be_bytes(id));
        let engine = Engine::new(directory, [7, 7], Limits::default());
        State { engine, finals: DefaultHasher::new() }
    }

    fn replay(&mut self, record: &Record) -> Result<(), String> {
        self.engine.replay(record.replayed()).map_err(|fault| fault.to_string())?;
        for effect in self.engine.replayed_effects() {
            match effect {
                Effect::Archive(last) => {
                    let deadline = &last.deadline;
                    let whole = (last.seq, deadline.id, deadline.generation, deadline.due);
                    whole.hash(&mut self.finals);
                    (&deadline.key, &deadline.outcome, deadline.finished_at())
                        .hash(&mut self.finals);
                }
                Effect::Erase { seq, id } => (seq, id).hash(&mut self.finals),
                Effect::Attempt { .. } | Effect::Notice(_) => {}
            }
        }
        Ok(())
    }

    fn digest(mut self, records: &[Record]) -> u64 {
        for record in records {
            let all = self.engine.restate(record.replayed(), usize::MAX);
            assert!(all.expect("it was replayed a moment ago"), "there is room for all of it");
        }
        let stated = self.engine.finish();
        let base = self.engine.base();
        let mut hasher = self.finals;
        (stated.facts, stated.count, base.at.millis(), base.first_seq).hash(&mut hasher);
        // The base comes after what was stated, with a sequence that depends on it: the facts are
        // enough.
        base.facts.hash(&mut hasher);
        hasher.finish()
    }
}
