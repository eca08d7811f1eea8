//! Looking over a data directory that nobody uses, without changing a byte of it.
//!
//! The journal is read and replayed as at a start, the archive is checked row by row; what is in
//! them is told as the engine tells it. Whoever looks also holds the directory's lock, so that no
//! server begins to write meanwhile.

use std::path::Path;
use std::sync::Arc;

use duly_engine::answer::{Answer, ClockView, Known, QueueView};
use duly_engine::command::Command;
use duly_engine::limits::Limits;
use duly_engine::time::Time;
use duly_engine::{Engine, Replayed};
use duly_store::disk::RealDisk;
use duly_store::journal::{self, RecordView, ReplayFault, Report};
use duly_store::{Directory, Error, archive};

use super::open::{half, identity};

/// What a directory holds, and what is wrong with it.
#[derive(Debug)]
pub struct Examination {
    /// Its id, as delivery ids begin with it.
    pub directory: String,
    /// What the journal holds.
    pub journal: Report,
    /// What the archive holds; none if there is none yet.
    pub archive: Option<archive::Examined>,
    /// The clock, as the journal left it.
    pub clock: Option<ClockView>,
    /// The queues, as the journal left them; none if it cannot be replayed whole.
    pub queues: Vec<QueueView>,
    /// Whatever keeps the journal or the archive from being read.
    pub faults: Vec<Error>,
}

/// Looks over a directory; none if nobody has ever begun to use it. `progress` is told in a few
/// words how far it is.
pub fn examine(
    data: &Path,
    limits: Limits,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<Examination>, Error> {
    let disk = Arc::new(RealDisk::look_at(data));
    let Some(directory) = Directory::existing(disk)? else { return Ok(None) };
    let seed = directory.hash_seed();
    let mut engine = Engine::new(identity(&directory), [half(&seed, 0), half(&seed, 8)], limits);
    let mut replay = |record: RecordView<'_>| {
        let replayed = Replayed {
            segment: record.segment,
            facts_offset: record.offset_of_facts,
            first_seq: record.first_seq,
            at: Time::from_millis(record.time_ms),
            facts: record.facts,
        };
        engine.replay(replayed).map_err(|fault| ReplayFault(fault.to_string()))?;
        drop(engine.replayed_effects());
        Ok(())
    };
    let mut of_segments = |done: usize, all: usize| {
        progress(&format!("journal, segment {} of {all}", done + 1));
    };
    let journal::Examined { report, mut faults } =
        journal::examine(&directory, &mut replay, &mut of_segments)?;
    let (mut clock, mut queues, mut last_seq) = (None, Vec::new(), None);
    if faults.is_empty() {
        last_seq = Some(report.next_seq - 1);
        if let Answer::Clock(view) = engine.decide(Command::GetClock, Known::Unasked) {
            clock = Some(view);
        }
        if let Answer::Queues(views) = engine.decide(Command::ListQueues, Known::Unasked) {
            queues = views;
        }
    }
    let mut in_archive = |done: &str| progress(&format!("archive, {done}"));
    let archive = archive::examine(&data.join("archive.db"), &directory, last_seq, &mut in_archive);
    let archive = archive.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let directory = identity(&directory).to_string();
    Ok(Some(Examination { directory, journal: report, archive, clock, queues, faults }))
}
